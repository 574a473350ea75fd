"""Measures a network's cost while it runs, by forward hooks; the network itself knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from quietspike.core.contracts import AttentionMacs, Neuron
from quietspike.core.cost import E_AC, E_MAC, Cost, Kind, LayerCost
from quietspike.core.layers import Attend


class CostMeter:
    """Counts while it is open, for whatever the network is shown.

    >>> from quietspike.core.conv3 import Conv3
    >>> network = Conv3(input_shape=(2, 8, 8), steps=4, classes=3, widths=(4, 4, 4), hidden=(8,)).eval()
    >>> with CostMeter(network) as meter:
    ...     _ = network(torch.zeros(4, 1, 2, 8, 8))
    >>> meter.cost().neurons
    347

    Args:
        network: a backbone whose attention stands in ``Attend`` layers, whose synapses are ``nn.Conv2d`` and
            ``nn.Linear``, and whose spikes come from neurons of the ``Neuron`` contract.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._tallies: dict[str, _Tally] = {name: _Tally(module, kind) for name, module, kind in _parts(network)}
        self._samples = 0
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        for tally in self._tallies.values():
            self._handles.append(tally.module.register_forward_hook(tally.hook))
        self._handles.append(self.network.register_forward_hook(self._count_samples))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def cost(self) -> Cost:
        """The mean cost of the samples seen so far."""
        if self._samples == 0:
            raise ValueError("the network has seen no sample while the meter was open")
        synapses = [name for name, tally in self._tallies.items() if tally.kind == "synapse"]
        rows = [tally.row(name, self._samples, first=name in synapses[:1]) for name, tally in self._tallies.items()]
        return Cost(tuple(rows))

    def _count_samples(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._samples += inputs[0].shape[1]


def attention_macs(module: nn.Module, shape: tuple[int, ...]) -> AttentionMacs:
    """Multiply-accumulates of an attention for one sample [T, C, H, W] or [T, F].

    As the module's own ``macs`` says. Without one: the matrix products and convolutions of a forward pass, and one
    multiplication an element.
    """
    own = getattr(module, "macs", None)
    if own is not None:
        return AttentionMacs(*own(shape))
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    was_training = module.training
    module.eval()  # or these zeros would enter the statistics of a normalisation
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(shape[0], 1, *shape[1:], device=device))
    module.train(was_training)
    return AttentionMacs(counter.get_total_flops() // 2, prod(shape))


def is_neuron(module: nn.Module) -> bool:
    """Whether a module fits the ``Neuron`` contract."""
    return isinstance(module, Neuron)


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module, Kind]]:
    """The modules whose cost is counted, in order, and not what is inside them."""
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():
        if name.startswith(inside):
            continue
        kind: Kind
        if isinstance(module, Attend):
            inside = (*inside, f"{name}.")
            if isinstance(module.module, nn.Identity):
                continue
            kind = "attention"
        elif is_neuron(module):
            kind, inside = "neuron", (*inside, f"{name}.")
            yield from _membranes(name, module)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            kind, inside = "synapse", (*inside, f"{name}.")
        elif any(True for _ in module.parameters(recurse=False)):
            kind = "other"
        else:
            continue
        yield name, module, kind


def _membranes(name: str, neuron: nn.Module) -> Iterator[tuple[str, nn.Module, Kind]]:
    for inner, module in neuron.named_modules():
        if isinstance(module, Attend) and not isinstance(module.module, nn.Identity):
            yield f"{name}.{inner}", module, "attention"


@dataclass
class _Tally:
    """What one module did, summed over all samples; sums stay on the module's device until they are asked for."""

    module: nn.Module
    kind: Kind
    spikes: Tensor | None = None
    neurons: int = 0
    nonzero: Tensor | None = None
    elements: int = 0
    graded: Tensor | None = None
    fan_out: Tensor | None = None
    macs: int = 0
    applying: int = 0
    per_shape: dict[tuple[int, ...], AttentionMacs] = field(default_factory=dict)

    def hook(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if self.kind == "neuron":
            self._spike(output.detach())
        elif self.kind == "synapse":
            self._transmit(inputs[0].detach(), output)
        elif self.kind == "attention":
            self._attend(inputs[0])

    def _spike(self, output: Tensor) -> None:
        counts = output.count_nonzero(dim=tuple(range(1, output.dim())))
        self.spikes = counts if self.spikes is None else self.spikes + counts
        self.neurons = output[0, 0].numel()

    def _transmit(self, x: Tensor, output: Tensor) -> None:
        active = x != 0
        assert isinstance(self.module, nn.Conv2d | nn.Linear)
        if isinstance(self.module, nn.Conv2d):
            at = active.sum((0, 1))  # a position's fan-out is the same for every channel
            if self.fan_out is None:
                self.fan_out = _fan_out(self.module, *x.shape[-2:])
        else:
            at = active.sum()
            self.fan_out = torch.tensor(output.shape[-1], device=x.device)
        self.nonzero = at if self.nonzero is None else self.nonzero + at
        self.elements += x.numel()
        weights_an_output = self.module.weight[0].numel()
        self.macs += output.numel() * weights_an_output
        graded = (active & (x != 1)).any()
        self.graded = graded if self.graded is None else self.graded | graded

    def _attend(self, x: Tensor) -> None:
        assert isinstance(self.module, Attend)
        shape = (x.shape[0], *x.shape[2:])
        if shape not in self.per_shape:
            self.per_shape[shape] = attention_macs(self.module.module, shape)
        macs = self.per_shape[shape]
        self.macs += sum(macs) * x.shape[1]
        self.applying += macs.applying * x.shape[1]

    def row(self, name: str, samples: int, *, first: bool) -> LayerCost:
        own = self.module.parameters(recurse=self.kind != "other")
        parameters = sum(p.numel() for p in own if p.requires_grad)
        if isinstance(self.module, Attend):
            name = self.module.site.name
        elif self.kind == "neuron":
            inside = (m for m in self.module.modules() if isinstance(m, Attend))
            parameters -= sum(p.numel() for m in inside for p in m.parameters() if p.requires_grad)
        spikes = () if self.spikes is None else tuple(count / samples for count in self.spikes.tolist())
        macs = self.macs / samples
        energy = paper = macs * E_MAC if self.kind == "attention" else 0.0
        rate, graded, operations = 0.0, False, 0.0
        if self.nonzero is not None and self.fan_out is not None and self.graded is not None:
            rate = float(self.nonzero.sum()) / self.elements
            graded = first or bool(self.graded)
            operations = float((self.nonzero * self.fan_out).sum()) / samples
            energy = macs * rate * (E_MAC if graded else E_AC)
            paper = macs * rate * (E_MAC if first else E_AC)
        return LayerCost(
            layer=name,
            kind=self.kind,
            spikes_by_step=spikes,
            neurons=self.neurons,
            input_rate=rate,
            graded=graded,
            macs=macs,
            applying_macs=self.applying / samples,
            synaptic_operations=operations,
            energy=energy,
            energy_paper=paper,
            parameters=parameters,
        )


def _fan_out(conv: nn.Conv2d, height: int, width: int) -> Tensor:
    """How many weights an input at [h, w] meets; fewer at the border. It is the gradient of a convolution of ones."""
    with torch.enable_grad():
        x = torch.zeros(1, 1, height, width, device=conv.weight.device, requires_grad=True)
        ones = torch.ones(1, 1, *conv.kernel_size, device=conv.weight.device)
        out = functional.conv2d(x, ones, stride=conv.stride, padding=conv.padding, dilation=conv.dilation)
        (covered,) = torch.autograd.grad(out.sum(), x)
    return covered[0, 0].round().to(torch.int64) * (conv.out_channels // conv.groups)
