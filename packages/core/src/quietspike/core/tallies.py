"""What one module of a network does, summed over the samples that it is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from quietspike.core.contracts import AttentionMacs
from quietspike.core.cost import E_AC, E_MAC, Kind, LayerCost
from quietspike.core.kernels.counting import count_inputs, count_steps
from quietspike.core.layers import Attend
from quietspike.core.modes import evaluating


class Tally(ABC):
    """Sums for one module; they stay on its device until they are asked for.

    Args:
        name: of the module, as it is shown.
        module: what is watched.
    """

    kind: Kind

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module

    @abstractmethod
    def add(self, x: Tensor, output: Any, *, sensed: bool, again: bool) -> None:
        """Count one call.

        Args:
            x: what the module was given.
            output: what it gave.
            sensed: whether no neuron has run before it, so that its input comes from the sensor.
            again: whether it has run before in the same pass of the network.
        """

    @abstractmethod
    def row(self, samples: int) -> LayerCost:
        """The mean of so many samples."""

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)


class NeuronTally(Tally):
    """Spikes of a neuron layer: what it sends that is not zero, graded or not."""

    kind: Kind = "neuron"

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__(name, module)
        self.spikes: Tensor | None = None
        self.neurons = 0
        self.spatial = False

    def add(self, x: Tensor, output: Any, *, sensed: bool, again: bool) -> None:
        """Count the spikes of each step.

        Raises:
            ValueError: if the layer runs twice in one pass.
        """
        if again:
            raise ValueError(f"{self.name} runs twice in one pass: each place needs a neuron layer of its own")
        counts = count_steps(output.detach())
        self.spikes = counts if self.spikes is None else self.spikes + counts
        self.neurons, self.spatial = output[0, 0].numel(), output.dim() == 5

    def row(self, samples: int) -> LayerCost:
        """Spikes by step; membrane attention has a row of its own."""
        counts = [] if self.spikes is None else self.spikes.tolist()
        return LayerCost(
            self.name,
            self.kind,
            spikes_by_step=tuple(count / samples for count in counts),
            neurons=self.neurons,
            spatial=self.spatial,
            parameters=self.parameters,
        )

    @property
    def parameters(self) -> int:
        """Trainable numbers, without those of membrane attention."""
        inside = (m for m in self.module.modules() if isinstance(m, Attend))
        return super().parameters - sum(p.numel() for m in inside for p in m.parameters() if p.requires_grad)


class SynapseTally(Tally):
    """Multiply-accumulates and synaptic operations of a convolution or a fully connected layer.

    Args:
        name: of the module, as it is shown.
        module: what is watched.
        images: whether the sensor's input is still images, all of which is multiplied.
    """

    kind: Kind = "synapse"

    def __init__(self, name: str, module: nn.Conv2d | nn.Linear, *, images: bool = False) -> None:
        super().__init__(name, module)
        self.synapses = module
        self.images = images
        self.nonzero: Tensor | None = None
        self.operations: Tensor | None = None
        self.graded: Tensor | None = None
        self.elements = 0
        self.macs = 0
        self.sensed = False
        self._fan_out: dict[tuple[int, int], Tensor] = {}

    def add(self, x: Tensor, output: Any, *, sensed: bool, again: bool) -> None:
        """Count what the inputs that are not zero meet."""
        x = x.detach()
        fan_out: Tensor | int
        if isinstance(self.synapses, nn.Conv2d):
            size = (x.shape[-2], x.shape[-1])
            if size not in self._fan_out:
                self._fan_out[size] = _fan_out(self.synapses, *size)
            fan_out = self._fan_out[size]  # a position's is the same for every channel
        else:
            fan_out = self.synapses.out_features
        nonzero, operations, graded = count_inputs(x, fan_out)
        if sensed and self.images:
            nonzero = torch.full_like(nonzero, x.numel())
        if self.nonzero is None or self.operations is None or self.graded is None:
            self.nonzero, self.operations, self.graded = nonzero, operations, graded
        else:
            self.nonzero += nonzero
            self.operations += operations
            self.graded |= graded
        self.elements += x.numel()
        self.macs += output.numel() * self.synapses.weight[0].numel()
        self.sensed |= sensed

    def row(self, samples: int) -> LayerCost:
        """Operations, and the energy that they take."""
        if self.nonzero is None or self.operations is None or self.graded is None:
            return LayerCost(self.name, self.kind, parameters=self.parameters)
        macs, rate = self.macs / samples, int(self.nonzero) / self.elements
        graded = self.sensed or bool(self.graded)
        return LayerCost(
            self.name,
            self.kind,
            input_rate=rate,
            graded=graded,
            macs=macs,
            synaptic_operations=int(self.operations) / samples,
            energy=macs * rate * (E_MAC if graded else E_AC),
            energy_paper=macs * rate * (E_MAC if self.sensed else E_AC),
            parameters=self.parameters,
        )


class AttentionTally(Tally):
    """Multiply-accumulates of an attention."""

    kind: Kind = "attention"

    def __init__(self, name: str, module: Attend) -> None:
        super().__init__(name, module)
        self.attention = module.module
        self.macs = 0
        self.applying = 0
        self._of_shape: dict[tuple[int, ...], AttentionMacs] = {}

    def add(self, x: Tensor, output: Any, *, sensed: bool, again: bool) -> None:
        """Count what it computes for each sample."""
        shape = (x.shape[0], *x.shape[2:])
        if shape not in self._of_shape:
            self._of_shape[shape] = attention_macs(self.attention, shape, x)
        macs = self._of_shape[shape]
        self.macs += sum(macs) * x.shape[1]
        self.applying += macs.applying * x.shape[1]

    def row(self, samples: int) -> LayerCost:
        """Both terms, always at the price of a multiplication."""
        macs = self.macs / samples
        return LayerCost(
            self.name,
            self.kind,
            macs=macs,
            applying_macs=self.applying / samples,
            energy=macs * E_MAC,
            energy_paper=macs * E_MAC,
            parameters=self.parameters,
        )


class ParameterTally(Tally):
    """A module that costs nothing but its parameters, as a normalisation does."""

    kind: Kind = "other"

    def add(self, x: Tensor, output: Any, *, sensed: bool, again: bool) -> None:
        """Nothing."""

    def row(self, samples: int) -> LayerCost:
        """Its own parameters."""
        own = sum(p.numel() for p in self.module.parameters(recurse=False) if p.requires_grad)
        return LayerCost(self.name, self.kind, parameters=own)


def attention_macs(module: nn.Module, shape: tuple[int, ...], like: Tensor | None = None) -> AttentionMacs:
    """Multiply-accumulates of an attention for one sample.

    As the module's own ``macs`` says. Without one: the matrix products and convolutions of a forward pass, and one
    multiplication an element.

    Args:
        module: the attention.
        shape: of a sample, [T, C, H, W] or [T, F].
        like: of the type and on the device that the module works with; float32 on the CPU where ``None``.
    """
    own = getattr(module, "macs", None)
    if own is not None:
        return AttentionMacs(*own(shape))
    x = (torch.empty(0) if like is None else like).new_zeros(shape[0], 1, *shape[1:])
    with evaluating(module):  # or these zeros would enter the statistics of a normalisation
        return AttentionMacs(count_products(module, x), prod(shape))


def count_products(module: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates of all matrix products and convolutions of a forward pass, as torch counts them."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(x)
    return int(counter.get_total_flops()) // 2


def _fan_out(conv: nn.Conv2d, height: int, width: int) -> Tensor:
    """How many weights an input at [h, w] meets; fewer at the border. It is the gradient of a convolution of ones."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        x = torch.zeros(1, 1, height, width, device=conv.weight.device, requires_grad=True)
        ones = torch.ones(1, 1, *conv.kernel_size, device=conv.weight.device)
        padded, padding = x, conv.padding
        if conv.padding_mode != "zeros":
            padded, padding = functional.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode), (0, 0)
        out = functional.conv2d(padded, ones, stride=conv.stride, padding=padding, dilation=conv.dilation)
        (covered,) = torch.autograd.grad(out.sum(), x)
    return covered[0, 0].round().to(torch.int64) * (conv.out_channels // conv.groups)
