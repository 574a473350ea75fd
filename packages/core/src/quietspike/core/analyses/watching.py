"""Shows a network a split and hands each neuron layer's spikes to those who count them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from quietspike.core.analyses.samples import check_finite, show
from quietspike.core.layers import Attend
from quietspike.core.metering import is_neuron
from quietspike.core.modes import evaluating


class Watcher(Protocol):
    """What gathers numbers while a network runs; it keeps sums, not spikes, so that no split is too large."""

    def begin(self, frames: Tensor) -> None:
        """A batch [T, B, C, H, W] is about to be shown."""
        ...

    def add(self, layer: str, spikes: Tensor) -> None:
        """A neuron layer gave spikes [T, B, ...]."""
        ...

    def end(self) -> None:
        """All layers have run."""
        ...


@torch.no_grad()
def watch(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    watchers: Sequence[Watcher],
    device: torch.device | str = "cpu",
) -> None:
    """Run a network over batches in evaluation mode, once for all watchers.

    Args:
        network: a backbone whose spikes come from neurons of the ``Neuron`` contract.
        batches: frames [T, B, C, H, W] and classes [B], as ``Batches.epoch()`` gives them.
        watchers: what gathers; layers come in the order in which they run.
        device: where the network is.

    Raises:
        DataError: if there is no sample, or a frame or what a neuron gives is not finite.
        ValueError: if there is no neuron layer, or one runs twice in one pass.
    """
    passed: set[str] = set()

    def hand_on(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], spikes: Tensor) -> None:
            if name in passed:
                raise ValueError(f"{name} runs twice in one pass: each place needs a neuron layer of its own")
            passed.add(name)
            check_finite(name, spikes)
            for watcher in watchers:
                watcher.add(name, spikes)

        return hook

    handles = [module.register_forward_hook(hand_on(name)) for name, module in neuron_layers(network)]
    if not handles:
        raise ValueError("no neuron of the contract was found: there are no spikes to watch")
    try:
        with evaluating(network):
            for frames, _ in show(batches, device):
                passed.clear()
                for watcher in watchers:
                    watcher.begin(frames)
                network(frames)
                for watcher in watchers:
                    watcher.end()
    finally:
        for handle in handles:
            handle.remove()


def neuron_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Neuron layers by path, as the network was built: those that ``CostMeter`` counts.

    What is inside attention or inside a neuron is none.
    """
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if name.startswith(inside) or module is network:
            continue
        if isinstance(module, Attend):
            inside = (*inside, f"{name}.")
        elif is_neuron(module):
            inside = (*inside, f"{name}.")
            yield name, module
