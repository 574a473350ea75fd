"""Convolutions in a row, then fully connected layers: the networks of MA-SNN and ASA-SNN."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from quietspike.core.checks import check_flag, check_frames, check_rates, check_shape, check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory
from quietspike.core.errors import OptionError
from quietspike.core.layers import SpikingConv, SpikingLinear, mean_spikes
from quietspike.core.neurons import LIF


class Conv3(nn.Module):
    """Convolutions, three by default, and fully connected layers; the scores are the mean spikes of the last.

    The defaults are MA-SNN's network for DVS128 Gesture at 32×32: 64-128-128 channels, pooling 1-2-2, 8192-256-11 fully
    connected, batch normalisation throughout. ASA-SNN's arch A is ``fc_norm=False, dropout=(0, 0, .1, .1, .1)``, its
    arch D ``fc_norm=False, widths=(32, 32, 32), dropout=(0, 0, .5, .5, .5)``.

    There are as many convolutions, 3×3, as ``widths``: ``block1``, ``block2`` and so on, with sites ``input``,
    ``current`` and ``membrane``; the fully connected layers are ``fc1`` and so on, with ``current`` and ``membrane``.

    Args:
        input_shape: C, H, W of a frame.
        steps: T.
        classes: size of the last layer.
        attention: asked for the module of each site; none where ``None``.
        neuron: asked for each neuron layer; ``LIF`` where ``None``.
        widths: output channels of each convolution.
        pools: average pooling after each.
        hidden: sizes of the fully connected layers before the last.
        norm: batch normalisation after convolutions.
        fc_norm: batch normalisation after fully connected layers (MA-SNN's code; ASA-SNN's has none).
        dropout: of each layer, convolutions first: the share of its input and of its spikes; none where empty.

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: if an option is none of its kind, or pooling leaves nothing; for frames of another shape.

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, Table 2 (three layers) and its repository; Yao et al. 2023,
        Inherent Redundancy in Spiking Neural Networks, its repository.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (2, 32, 32),
        steps: int = 60,
        classes: int = 11,
        attention: AttentionFactory | None = None,
        neuron: NeuronFactory | None = None,
        widths: Sequence[int] = (64, 128, 128),
        pools: Sequence[int] = (1, 2, 2),
        hidden: Sequence[int] = (256,),
        norm: bool = True,
        fc_norm: bool = True,
        dropout: Sequence[float] = (),
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
        self.input_shape, self.steps = input_shape, steps
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
        check_frames(frames, input_shape=self.input_shape, steps=self.steps)
        x = frames
        for layer in self.children():
            x = layer(x)
        return mean_spikes(x, 0)


conv5 = partial(
    Conv3, input_shape=(2, 128, 128), steps=8, classes=21, widths=(32, 64, 128, 256, 512), pools=(2, 2, 2, 2, 4)
)
"""``Conv3`` of five convolutions: the network of MA-SNN's code for DVS128 Gait at 128×128, with 2048-256-21 fully
connected. CIFAR10-DVS has 10 classes and 20 steps. Differs from the paper, whose five layers are ``PLIF5``."""
