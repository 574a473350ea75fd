"""Convolutions in a row, then fully connected layers: the networks of MA-SNN and ASA-SNN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from quietspike.core.checks import check_flag, check_rates, check_shape, check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory
from quietspike.core.errors import OptionError
from quietspike.core.layers import SpikingConv, SpikingLinear
from quietspike.core.neurons import LIF


class ConvNet(nn.Module):
    """Convolutions of width 3 and fully connected layers; the scores are the mean spikes of the last.

    The convolutions are ``block1``, ``block2`` and so on, with sites ``input``, ``current`` and ``membrane``; the fully
    connected layers ``fc1`` and so on, with sites ``current`` and ``membrane``.

    Args:
        input_shape: C, H, W of a frame.
        steps: T.
        classes: size of the last layer.
        attention: asked for the module of each site; none where ``None``.
        neuron: asked for each neuron layer; ``LIF`` where ``None``.
        widths: output channels of the convolutions.
        pools: average pooling after each.
        hidden: sizes of the fully connected layers before the last.
        norm: batch normalisation after convolutions.
        fc_norm: batch normalisation after fully connected layers (MA-SNN's code; ASA-SNN's has none).
        dropout: of each layer, convolutions first: the share of its input and of its spikes; none where empty.

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: if an option is none of its kind, or pooling leaves nothing.

    Source:
        The repositories of Yao et al. 2023, Attention Spiking Neural Networks and Inherent Redundancy in Spiking Neural
        Networks.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        steps: int,
        classes: int,
        attention: AttentionFactory | None,
        neuron: NeuronFactory | None,
        widths: Sequence[int],
        pools: Sequence[int],
        hidden: Sequence[int],
        norm: bool,
        fc_norm: bool,
        dropout: Sequence[float],
    ) -> None:
        super().__init__()
        neuron = neuron or LIF
        check_shape(input_shape=input_shape, steps=steps, classes=classes)
        check_wholes(widths=widths, hidden=hidden)
        check_wholes(len(widths), pools=pools)
        check_flag(norm=norm, fc_norm=fc_norm)
        layers = len(widths) + len(hidden) + 1
        if dropout:
            check_rates(layers, dropout=dropout)
        rates = iter(dropout or [0.0] * layers)
        channels, height, width = input_shape
        for block, (out, pool) in enumerate(zip(widths, pools, strict=True), 1):
            layer = SpikingConv(
                f"block{block}",
                steps,
                (channels, out),
                attention,
                neuron,
                pool=pool,
                norm=norm,
                dropout=next(rates),
            )
            self.add_module(f"block{block}", layer)
            channels, height, width = out, height // pool, width // pool
        features = channels * height * width
        if features == 0:
            raise OptionError(f"pools={list(pools)}: nothing is left of an input of {input_shape[1]}×{input_shape[2]}")
        for number, out in enumerate([*hidden, classes], 1):
            linear = SpikingLinear(
                f"fc{number}", steps, (features, out), attention, neuron, norm=fc_norm, dropout=next(rates)
            )
            self.add_module(f"fc{number}", linear)
            features = out

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores in 0..1: mean spikes over the steps."""
        x = frames
        for layer in self.children():
            x = layer(x)
        return x.mean(0)
