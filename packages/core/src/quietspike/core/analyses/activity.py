"""Spikes as a share of the neurons, step by step, and how much that differs between samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quietspike.core.analyses.moments import Moments

NETWORK = "network"
"""The row of all neuron layers together."""


@dataclass(frozen=True)
class Activity:
    """The spiking activity rate of a layer or of the network.

    Args:
        mean: NSAR(t) averaged over the samples (of a layer: LSAR(t)), [T].
        variance: its variance over the samples, [T].
        average: NASAR (of a layer: LASAR), the mean over steps and samples.
        average_variance: variance over the samples of a sample's mean over the steps.
    """

    mean: Tensor
    variance: Tensor
    average: float
    average_variance: float


class SpikingActivity:
    """NSAR over t with its variance over samples, by layer and for the network.

    Source:
        Yao et al. 2023 (MA-SNN), section 4 (NSAR, NASAR) and 7.4 (curves over t; variance over samples, where it
        is small for vanilla networks and larger with attention). Its variance is taken to be that of the population.
    """

    def __init__(self) -> None:
        self._rates: dict[str, Moments] = {}
        self._averages: dict[str, Moments] = {}
        self._counts: Tensor | None = None
        self._neurons = 0

    def begin(self, frames: Tensor) -> None:
        """Nothing is counted yet."""
        self._counts, self._neurons = None, 0

    def add(self, layer: str, spikes: Tensor) -> None:
        """Count a layer's spikes of each sample and step."""
        counts = (spikes != 0).flatten(2).sum(2)
        neurons = spikes.shape[2:].numel()
        self._counts = counts if self._counts is None else self._counts + counts
        self._neurons += neurons
        self._enter(layer, counts, neurons)

    def end(self) -> None:
        """Enter the network's own."""
        if self._counts is not None:
            self._enter(NETWORK, self._counts, self._neurons)

    def _enter(self, name: str, counts: Tensor, neurons: int) -> None:
        rates = counts.t().to(torch.float64) / neurons
        self._rates.setdefault(name, Moments()).add(rates)
        self._averages.setdefault(name, Moments()).add(rates.mean(1))

    @property
    def rows(self) -> dict[str, Activity]:
        """By layer in the order in which they ran, ``network`` first; nothing before the first batch."""
        names = sorted(self._rates, key=lambda name: name != NETWORK)
        return {
            name: Activity(
                self._rates[name].mean,
                self._rates[name].variance,
                float(self._averages[name].mean),
                float(self._averages[name].variance),
            )
            for name in names
        }
