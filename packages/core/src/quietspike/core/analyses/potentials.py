"""How membrane potentials, and what attention makes of them, are distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quietspike.core.analyses.histogram import Histogram
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
        signal: ``input`` or ``current`` of a site, or ``membrane``, the potential U on which the neuron fires.
        when: before or after attention; where there is none, ``before`` alone.
        threshold: of a neuron that says it.
        histogram: of all samples, steps and neurons.
        reached: how many of the values lie at or over the threshold.
    """

    name: str
    signal: Signal
    when: When
    threshold: float | None
    histogram: Histogram
    reached: int = 0

    @property
    def layer(self) -> str:
        """The name before its last dot, as in ``block1``; what belongs together has the same."""
        return self.name.rpartition(".")[0] or self.name

    def add(self, values: Tensor) -> None:
        """Count values [T, B, ...], a step at a time so that few are copied at once."""
        for step in values.unbind(0):
            self.histogram.add(step)
            if self.threshold is not None:
                self.reached += int((step - self.threshold >= 0).sum())  # as a neuron compares

    @property
    def firing(self) -> float:
        """Share of the values at or over the threshold; nan without one."""
        if self.threshold is None or self.histogram.total == 0:
            return float("nan")
        return self.reached / self.histogram.total


@torch.no_grad()
def potential_distributions(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device | str = "cpu"
) -> list[Distribution]:
    """Distributions at every attention and every neuron layer, over a split; of the current also without attention.

    At ``input`` and ``current`` these are the values that attention is given and those that it gives. At ``membrane``
    they are U before and after the neuron's own attention; U is what fires, so the share at or over the threshold
    there is the firing rate. A neuron without an attribute ``membrane`` does not show its potential, and is left out.

    Args:
        network: a backbone whose attention stands in ``Attend`` layers.
        batches: frames and classes.
        device: where the network is.

    Raises:
        DataError: if there is no batch, or a value is not finite.

    Source:
        Yao et al. 2023 (ASA-SNN), whose repository's ``collect_distribution.py`` gathers as membrane potentials what
        attention hands to the neuron: ``current``, ``after``. Differs: what attention was given stands beside it, and U
        itself; all values are counted, where that script first averages over the samples.
    """
    found: list[Distribution] = []
    seen = False
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
        for frames, _ in batches:
            network(frames.to(device))
            seen = True
    if not seen:
        raise DataError("there is no sample to analyse")
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

    def __init__(self, inner: nn.Module | None, look: Callable[[When, Tensor], None]) -> None:
        super().__init__()
        self.inner = inner
        self.look = look

    def forward(self, potential: Tensor) -> Tensor:
        self.look("before", potential)
        if self.inner is None:
            return potential
        gated: Tensor = self.inner(potential)
        self.look("after", gated)
        return gated


@contextmanager
def _spying(name: str, neuron: nn.Module, found: list[Distribution]) -> Iterator[None]:
    """Put a spy into a neuron for a while."""
    if not hasattr(neuron, "membrane"):
        yield
        return
    threshold = getattr(neuron, "threshold", None)
    at: dict[When, Distribution] = {}

    def look(when: When, potential: Tensor) -> None:
        if when not in at:
            at[when] = Distribution(name, "membrane", when, _number(threshold), Histogram())
            found.append(at[when])
        at[when].add(potential)

    inner: nn.Module | None = neuron.membrane  # type: ignore[assignment]
    neuron.membrane = _Spy(inner, look).eval()
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
