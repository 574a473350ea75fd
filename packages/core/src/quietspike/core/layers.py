"""The layers that backbones are made of: attention at its site, then synapses, then a neuron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quietspike.core.contracts import AttentionFactory, NeuronFactory, Signal, Site
from quietspike.core.dropout import StepDropout
from quietspike.core.kernels.memory import HALVES
from quietspike.core.norm import PooledNorm


class Attend(nn.Module):
    """The attention of one site, so that what runs over a network can tell attention from synapses.

    Args:
        site: where it stands.
        attention: asked once for the module; ``None`` for a network without attention.

    Shape:
        that of the site → the same.
    """

    def __init__(self, site: Site, attention: AttentionFactory | None) -> None:
        super().__init__()
        self.site = site
        self.module = nn.Identity() if attention is None else attention(site)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the site's attention."""
        out: Tensor = self.module(x)
        return out


def build_neuron(site: Site, attention: AttentionFactory | None, neuron: NeuronFactory) -> nn.Module:
    """A neuron layer with the attention of its ``membrane`` site inside.

    Where nothing stands there, the neuron gets no membrane at all, so that such a site costs no time.
    """
    gate = Attend(site, attention)
    return neuron() if isinstance(gate.module, nn.Identity) else neuron(membrane=gate)


def build_dropout(rate: float) -> tuple[nn.Module, nn.Module]:
    """ASA-SNN's dropout: of a layer's input, at each step anew, and of its spikes, at all steps; nothing for 0."""
    return (nn.Dropout(rate), StepDropout(rate)) if rate > 0 else (nn.Identity(), nn.Identity())


def channels_last(network: nn.Module) -> nn.Module:
    """The same network, whose convolutions have their weights channels last in memory, in which they are fastest."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def over_steps(x: Tensor, *modules: nn.Module) -> Tensor:
    """Apply modules for single frames, one after the other, to every step.

    Shape:
        [T, B, ...] → [T, B, ...]; the modules see [T·B, ...].
    """
    frames = x.flatten(0, 1)
    for module in modules:
        frames = module(frames)
    return frames.reshape(*x.shape[:2], *frames.shape[1:])


def mean_spikes(spikes: Tensor, *over: int) -> Tensor:
    """Mean over dimensions; in float32 where spikes are of half precision, which has too few digits for a rate."""
    return spikes.mean(over, dtype=torch.float32 if spikes.dtype in HALVES else None)


class SpikingConv(nn.Module):
    """Attention at ``input``, convolution, batch normalisation, average pooling, attention at ``current``, neuron.

    Inside the neuron's step, attention at ``membrane`` acts on U before it fires.

    Args:
        name: prefix of its three sites.
        steps: T.
        channels: input and output channels.
        attention: asked for the modules of ``<name>.input``, ``<name>.current`` and ``<name>.membrane``.
        neuron: asked for the neuron layer.
        kernel: width of the convolution, odd; its padding keeps the size.
        stride: of the convolution.
        pool: factor of the average pooling, 1 for none; odd borders are cut off.
        norm: whether batch normalisation follows the convolution.
        bias: whether the convolution has one.
        dropout: share of the layer's input that is dropped, at each step anew, and of its spikes, at all steps.

    Shape:
        [T, B, C_in, H, W] → [T, B, C_out, H // pool, W // pool], with H and W those after the stride.

    Source:
        MA-SNN's repository: pooling after normalisation, attention on what the neuron receives. ASA-SNN's: dropout.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        channels: tuple[int, int],
        attention: AttentionFactory | None,
        neuron: NeuronFactory,
        *,
        kernel: int = 3,
        stride: int = 1,
        pool: int = 1,
        norm: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()

        def attend(signal: Signal, width: int) -> Attend:
            return Attend(Site(f"{name}.{signal}", signal, steps, width, spatial=True), attention)

        into, out = channels
        self.drop_input, self.drop_spikes = build_dropout(dropout)
        self.input = attend("input", into)
        self.conv = nn.Conv2d(into, out, kernel, stride, padding=kernel // 2, bias=bias)
        self.norm = PooledNorm(out, pool) if norm else nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.current = attend("current", out)
        membrane = Site(f"{name}.membrane", "membrane", 1, out, spatial=True)
        self.neuron = build_neuron(membrane, attention, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of the layer."""
        current = over_steps(self.input(self.drop_input(x)), self.conv, self.norm)
        spikes: Tensor = self.drop_spikes(self.neuron(self.current(current)))
        return spikes


class SpikingLinear(nn.Module):
    """Fully connected synapses, batch normalisation, attention at ``current``, neuron with attention at ``membrane``.

    Args:
        name: prefix of its two sites.
        steps: T.
        features: input and output features.
        attention: asked for the modules of ``<name>.current`` and ``<name>.membrane``, sites without space.
        neuron: asked for the neuron layer.
        norm: whether batch normalisation follows.
        bias: whether the synapses have one.
        dropout: as for ``SpikingConv``.

    Shape:
        [T, B, F_in], or [T, B, C, H, W] with F_in = C·H·W, → [T, B, F_out].
    """

    def __init__(
        self,
        name: str,
        steps: int,
        features: tuple[int, int],
        attention: AttentionFactory | None,
        neuron: NeuronFactory,
        *,
        norm: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        into, out = features
        self.drop_input, self.drop_spikes = build_dropout(dropout)
        self.linear = nn.Linear(into, out, bias=bias)
        self.norm = nn.BatchNorm1d(out) if norm else nn.Identity()
        self.current = Attend(Site(f"{name}.current", "current", steps, out, spatial=False), attention)
        membrane = Site(f"{name}.membrane", "membrane", 1, out, spatial=False)
        self.neuron = build_neuron(membrane, attention, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of the layer."""
        current = over_steps(self.drop_input(x.flatten(2)), self.linear, self.norm)
        spikes: Tensor = self.drop_spikes(self.neuron(self.current(current)))
        return spikes
