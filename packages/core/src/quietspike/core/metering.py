"""Measures a network's cost while it runs, by forward hooks; the network itself knows nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle

from quietspike.core.contracts import Neuron
from quietspike.core.cost import Cost
from quietspike.core.layers import Attend
from quietspike.core.tallies import AttentionTally, NeuronTally, ParameterTally, SynapseTally, Tally

UNCOUNTED = _ConvNd | nn.Bilinear | nn.MultiheadAttention | nn.RNNBase
"""Synapses that no tally knows; they would come for free."""


class CostMeter:
    """Counts while it is open, for whatever the network is shown.

    >>> import torch
    >>> from quietspike.core.conv3 import Conv3
    >>> network = Conv3(input_shape=(2, 8, 8), steps=4, classes=3, widths=(4, 4, 4), hidden=(8,)).eval()
    >>> with CostMeter(network) as meter:
    ...     _ = network(torch.zeros(4, 1, 2, 8, 8))
    >>> meter.cost().neurons
    347

    Args:
        network: a backbone whose attention stands in ``Attend`` layers, whose synapses are ``nn.Conv2d`` and
            ``nn.Linear``, and whose spikes come from neurons of the ``Neuron`` contract.
        images: whether what the network is shown are still images: Φ of a layer that sees them is then 1.

    Raises:
        ValueError: if it has synapses of another kind; while it runs, if a neuron layer runs twice in one pass, or the
            number of steps changes.
    """

    def __init__(self, network: nn.Module, *, images: bool = False) -> None:
        self.network = network
        self._tallies = dict(_tallies(network, images))
        self._order: dict[str, None] = {}
        self._passed: set[str] = set()
        self._fired = False
        self._steps: int | None = None
        self._samples = 0
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, tally in self._tallies.items():
            self._handles.append(tally.module.register_forward_hook(self._hook(name, tally), with_kwargs=True))
        self._handles.append(self.network.register_forward_pre_hook(self._begin, with_kwargs=True))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def cost(self) -> Cost:
        """The mean cost of the samples seen so far, layers in the order in which they first ran."""
        if self._samples == 0:
            raise ValueError("the network has seen no sample while the meter was open")
        return Cost(tuple(self._tallies[name].row(self._samples) for name in {**self._order, **self._tallies}))

    def within(self, part: str) -> dict[str, Tally]:
        """What has been counted so far in a part of the network, by the part's path."""
        return {name: self._tallies[name] for name in self._order if name == part or name.startswith(f"{part}.")}

    def skip(self, counted: Mapping[str, Tally]) -> None:
        """A part does not run in this pass; what another meter counted in it, on the same samples, stands for it.

        Args:
            counted: what that meter's ``within`` gave at its end.
        """
        self._tallies.update(counted)
        self._order.update(dict.fromkeys(counted))
        self._fired |= any(tally.kind == "neuron" for tally in counted.values())

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        frames = _first(inputs, named)
        if self._steps not in (None, len(frames)):
            raise ValueError(f"the network was shown {self._steps} steps, and now {len(frames)}: measure one at a time")
        self._steps = len(frames)
        self._samples += frames.shape[1]
        self._passed.clear()
        self._fired = False

    def _hook(self, name: str, tally: Tally) -> Callable[..., None]:
        def count(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            tally.add(_first(inputs, named), output, sensed=not self._fired, again=name in self._passed)
            self._order[name] = None
            self._passed.add(name)
            self._fired |= tally.kind == "neuron"

        return count


def _first(inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """What a module was called with, by position or by name."""
    first: Tensor = inputs[0] if inputs else next(iter(named.values()))
    return first


def is_neuron(module: nn.Module) -> bool:
    """Whether a module fits the ``Neuron`` contract and is no block of synapses and neurons that fits it too.

    A neuron may hold others: what it sends itself are its spikes. It has synapses in its attention alone: in an
    ``Attend``, or in what it calls ``membrane``.
    """
    if not isinstance(module, Neuron):
        return False
    attention: tuple[str, ...] = ("membrane.",)
    for name, inner in module.named_modules():
        if isinstance(inner, Attend):
            attention = (*attention, f"{name}.")
        elif isinstance(inner, nn.Linear | UNCOUNTED) and not f"{name}.".startswith(attention):
            return False
    return True


def neuron_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Neuron layers by path, as the network was built; what is inside attention or inside a neuron is none."""
    for name, module in outermost(network):
        if module is not network and is_neuron(module):
            yield name, module


def outermost(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules by path, without those inside attention, synapses and neurons."""
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if not name.startswith(inside):
            yield name, module
            if module is not network and (isinstance(module, Attend | nn.Conv2d | nn.Linear) or is_neuron(module)):
                inside = (*inside, f"{name}.")


def _tallies(network: nn.Module, images: bool) -> Iterator[tuple[str, Tally]]:
    """The modules whose cost is counted, by path, and not what is inside them."""
    neurons = dict(neuron_layers(network))
    for name, module in outermost(network):
        if isinstance(module, Attend):
            yield from _attention(name, module)
        elif name in neurons:
            yield name, NeuronTally(name, module)
            for inner, attend in module.named_modules():
                if isinstance(attend, Attend):
                    yield from _attention(f"{name}.{inner}", attend)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            yield name, SynapseTally(name, module, images=images)
        elif isinstance(module, UNCOUNTED):
            kind = type(module).__name__
            raise ValueError(f"{name}: {kind} cannot be counted; synapses are nn.Conv2d or nn.Linear, attention Attend")
        elif any(True for _ in module.parameters(recurse=False)):
            yield name, ParameterTally(name, module)


def _attention(name: str, module: Attend) -> Iterator[tuple[str, Tally]]:
    if not isinstance(module.module, nn.Identity):
        yield name, AttentionTally(module.site.name, module)
