"""MA-SNN's three-layer network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from quietspike.core.checks import check_flag, check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory
from quietspike.core.errors import OptionError
from quietspike.core.layers import SpikingConv, SpikingLinear
from quietspike.core.neurons import LIF


class Conv3(nn.Module):
    """Three convolutions and fully connected layers; the scores are the mean spikes of the last.

    The defaults are the network for DVS128 Gesture at 32×32: 64-128-128 channels, pooling 1-2-2, 8192-256-11 fully
    connected, batch normalisation throughout. Its sites are ``block1.input``, ``block1.current``,
    ``block1.membrane`` to ``block3``, and ``current`` and ``membrane`` of ``fc1`` and ``fc2``.

    Args:
        input_shape: C, H, W of a frame.
        steps: T.
        classes: size of the last layer.
        attention: asked for the module of each site; none where ``None``.
        neuron: asked for each neuron layer; ``LIF`` where ``None``.
        widths: output channels of the three convolutions.
        pools: average pooling after each.
        hidden: sizes of the fully connected layers before the last.
        norm: batch normalisation after convolutions.
        fc_norm: batch normalisation after fully connected layers (MA-SNN's code; ASA-SNN's has none).

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: if an option is none of its kind, or pooling leaves nothing.

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, Table 2 (three layers) and its repository.
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
    ) -> None:
        super().__init__()
        neuron = neuron or LIF
        check_wholes(3, widths=widths, pools=pools)
        check_wholes(hidden=hidden)
        check_flag(norm=norm, fc_norm=fc_norm)
        channels, height, width = input_shape
        for block, (out, pool) in enumerate(zip(widths, pools, strict=True), 1):
            layer = SpikingConv(f"block{block}", steps, (channels, out), attention, neuron, pool=pool, norm=norm)
            self.add_module(f"block{block}", layer)
            channels, height, width = out, height // pool, width // pool
        features = channels * height * width
        if features == 0:
            raise OptionError(f"pools={list(pools)}: nothing is left of an input of {input_shape[1]}×{input_shape[2]}")
        for number, out in enumerate([*hidden, classes], 1):
            linear = SpikingLinear(f"fc{number}", steps, (features, out), attention, neuron, norm=fc_norm)
            self.add_module(f"fc{number}", linear)
            features = out

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores in 0..1: mean spikes over the steps."""
        x = frames
        for layer in self.children():
            x = layer(x)
        return x.mean(0)
