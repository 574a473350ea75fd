"""How membrane potentials, and what attention makes of them, are distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quietspike.core.analyses.histogram import Histogram
from quietspike.core.analyses.samples import show
from quietspike.core.analyses.watching import neuron_layers
from quietspike.core.contracts import Signal
from quietspike.core.errors import DataError
from quietspike.core.layers import Attend
from quietspike.core.modes import evaluating

When = Literal["before", "after"]


@dataclass
class Distribution:
    """Values of one signal at one layer.

    Args:
        name: the site's, or the neuron layer's path.
        signal: ``input``, ``current`` or ``sum`` of a site, or ``membrane``, the potential U on which the neuron fires.
        when: before or after attention; where there is none, ``before`` alone.
        threshold: of a neuron that says it.
        histogram: of all samples, steps and neurons.
        fires_at: whether a potential equal to the threshold fires, or only one over it, as with snnTorch's surrogates.
        reached: how many of the values fire by that.
    """

    name: str
    signal: Signal
    when: When
    threshold: float | None
    histogram: Histogram
    fires_at: bool = True
    reached: int = 0

    @property
    def layer(self) -> str:
        """The name before its last dot, as in ``block1``; what belongs together has the same."""
        return self.name.rpartition(".")[0] or self.name

    def add(self, values: Tensor) -> None:
        """Count values [T, B, ...], a step at a time so that few are copied at once.

        Raises:
            DataError: if one is not finite.
        """
        for step in values.unbind(0):
            try:
                self.histogram.add(step)
            except DataError as error:
                raise DataError(f"{self.name}: {error}") from None
            if self.threshold is not None:
                excess = step - self.threshold  # as a neuron compares
                self.reached += int((excess >= 0 if self.fires_at else excess > 0).sum())

    @property
    def firing(self) -> float:
        """Share of the values that fire by the threshold; nan without one."""
        if self.threshold is None or self.histogram.total == 0:
            return float("nan")
        return self.reached / self.histogram.total


@torch.no_grad()
def potential_distributions(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device | str = "cpu"
) -> list[Distribution]:
    """Distributions at every attention and every neuron layer, over a split; of the current also without attention.

    At ``input``, ``current`` and ``sum`` these are the values that attention is given and those that it gives. At
    ``membrane`` they are U before and, where the neuron has attention of its own, after it; the last of these is what
    fires. Its ``firing`` is the firing rate of a neuron that gives 0 or 1. Of a graded one, as ``liaf``, it is the rate
    of the spikes inside, which decide the reset, not of the values that are sent. A neuron without an attribute
    ``membrane`` does not show its potential, and is left out.

    Args:
        network: a backbone whose attention stands in ``Attend`` layers.
        batches: frames and classes.
        device: where the network is.

    Raises:
        DataError: if there is no sample, or a value is not finite.

    Source:
        Yao et al. 2023 (ASA-SNN), whose repository's ``collect_distribution.py`` gathers as membrane potentials what
        attention hands to the neuron: ``current``, ``after``. Differs: what attention was given stands beside it, and U
        itself; all values are counted, where that script first averages over the samples.
    """
    found: list[Distribution] = []
    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        neurons = list(neuron_layers(network))
        for name, neuron in neurons:
            stack.enter_context(_spying(name, neuron, found))
        inside = tuple(f"{name}." for name, _ in neurons)
        for name, module in network.named_modules():
            if isinstance(module, Attend) and not name.startswith(inside) and _matters(module):
                handle = module.register_forward_hook(_gather(module, found))
                stack.callback(handle.remove)
        for frames, _ in show(batches, device):
            network(frames)
    return [distribution for distribution in found if distribution.histogram.total]


def _matters(attend: Attend) -> bool:
    """Whether there is attention, or it is what a neuron receives."""
    return attend.site.signal == "current" or not isinstance(attend.module, nn.Identity)


def _gather(attend: Attend, found: list[Distribution]) -> Callable[..., None]:
    site = attend.site
    at: dict[When, Distribution] = {}

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        given: dict[When, Tensor] = {"before": inputs[0]}
        if not isinstance(attend.module, nn.Identity):
            given["after"] = output
        for when, values in given.items():
            if when not in at:
                at[when] = Distribution(site.name, site.signal, when, None, Histogram())
                found.append(at[when])
            at[when].add(values)

    return hook


class _Spy(nn.Module):
    """Stands in a neuron's place for attention and looks at U on both sides of what stood there."""

    def __init__(self, name: str, neuron: nn.Module, found: list[Distribution]) -> None:
        super().__init__()
        self.name = name
        self.inner: nn.Module | None = neuron.membrane  # type: ignore[assignment]
        self.step: Callable[[Tensor, None], tuple[Tensor, Tensor]] = neuron.step  # type: ignore[assignment]
        self.threshold = _number(getattr(neuron, "threshold", None))
        self.found = found
        self.at: dict[When, Distribution] = {}
        self.asked: Tensor | None = None

    def forward(self, potential: Tensor) -> Tensor:
        if self.asked is not None:
            return self.asked
        self._look("before", potential)
        if self.inner is None:
            return potential
        gated: Tensor = self.inner(potential)
        self._look("after", gated)
        return gated

    def _look(self, when: When, potential: Tensor) -> None:
        if when not in self.at:
            fires_at = self._fires_at(potential)
            self.at[when] = Distribution(self.name, "membrane", when, self.threshold, Histogram(), fires_at)
            self.found.append(self.at[when])
        self.at[when].add(potential)

    def _fires_at(self, potential: Tensor) -> bool:
        """Whether the neuron gives a spike at its threshold: its surrogate decides, so the neuron is asked."""
        if self.threshold is None:
            return False
        self.asked = torch.full_like(potential, self.threshold)
        spikes, _ = self.step(torch.zeros_like(potential[0]), None)
        self.asked = None
        return bool(spikes.count_nonzero())


@contextmanager
def _spying(name: str, neuron: nn.Module, found: list[Distribution]) -> Iterator[None]:
    """Put a spy into a neuron for a while."""
    if not hasattr(neuron, "membrane"):
        yield
        return
    inner: nn.Module | None = neuron.membrane  # type: ignore[assignment]
    neuron.membrane = _Spy(name, neuron, found).eval()
    try:
        yield
    finally:
        if inner is None:
            del neuron.membrane
        neuron.membrane = inner  # type: ignore[assignment]


def _number(threshold: Any) -> float | None:
    """A threshold that is one number."""
    if isinstance(threshold, Tensor) and threshold.numel() == 1:
        return float(threshold)
    return float(threshold) if isinstance(threshold, int | float) else None
