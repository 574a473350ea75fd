"""Which share of a layer's spikes lies in the background, where the input has no events."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quietspike.core.checks import check_between

TOLERANCE = 1e-6
"""What is so little over the mean, as its share, is at the mean: sums of pixels are rounded."""


@dataclass(frozen=True)
class NoiseShare:
    """Spikes in the background.

    Args:
        share: of the spikes; nan where there are none.
        background: of the layer's positions; what ``share`` would be if spikes fell anywhere alike.
        spikes: in the background, a sample.
    """

    share: float
    background: float
    spikes: float


class NoiseSpikes:
    """The noise-spike share of each layer of more than one position.

    A sample's events, summed over steps and channels, say where its target is. A position of a layer is background if
    its cell of the input has no more events a pixel than ``times`` the mean of the sample; a spike there is a noise
    spike. The mean, and not 0, since sensors have noise events everywhere. A share equal to the background's share of
    the positions is what spikes would have that fall anywhere alike. A layer without space, or whose only position is
    the whole picture, has no background and no row.

    Args:
        times: the mean; larger for a smaller target, at least 0.

    Raises:
        OptionError: if ``times`` is no such number.

    Source:
        Yao et al. 2023 (ASA-SNN) speak of noise spikes, and MA-SNN, section 7, of the background's. Defined here: what
        of a picture is background, and the share. Of a static image the brighter part counts as the target.
    """

    def __init__(self, times: float = 1.0) -> None:
        check_between(0, times=times)
        self.times = times
        self._events: Tensor = torch.zeros(())
        self._sums: dict[str, Tensor] = {}

    def begin(self, frames: Tensor) -> None:
        """Count each pixel's events."""
        self._events = frames.abs().sum((0, 2), dtype=torch.float64)

    def add(self, layer: str, spikes: Tensor) -> None:
        """Count spikes in the background, all spikes, positions in the background, all positions, and samples."""
        size = (spikes.shape[-2], spikes.shape[-1])
        if spikes.dim() != 5 or size == (1, 1):
            return
        density = functional.adaptive_avg_pool2d(self._events.unsqueeze(1), size).squeeze(1)
        mean = self._events.mean((1, 2), keepdim=True)
        background = density <= self.times * mean * (1 + TOLERANCE)
        counts = (spikes != 0).sum((0, 2))
        found = (counts[background].sum(), counts.sum(), background.sum())
        sums = torch.tensor([*map(int, found), background.numel(), len(counts)])
        self._sums[layer] = self._sums.get(layer, 0) + sums

    def end(self) -> None:
        """Nothing."""

    @property
    def rows(self) -> dict[str, NoiseShare]:
        """By layer, in the order in which they ran."""
        rows = {}
        for layer, sums in self._sums.items():
            noise, spikes, background, positions, samples = sums.tolist()
            share = noise / spikes if spikes else float("nan")
            rows[layer] = NoiseShare(share, background / positions, noise / samples)
        return rows
