"""The five-layer network of MA-SNN's code."""

from __future__ import annotations

from collections.abc import Sequence

from quietspike.core.checks import check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory
from quietspike.core.convnet import ConvNet


class Conv5(ConvNet):
    """Five convolutions and fully connected layers; the scores are the mean spikes of the last.

    The defaults are the network for DVS128 Gait at 128×128: 32-64-128-256-512 channels, pooling 2-2-2-2-4, 2048-256-21
    fully connected, batch normalisation throughout, 8 steps. CIFAR10-DVS has 10 classes and 20 steps. The sites are
    those of ``Conv3``, up to ``block5``.

    Args:
        input_shape: as for ``ConvNet``.
        steps: as for ``ConvNet``.
        classes: as for ``ConvNet``.
        attention: as for ``ConvNet``.
        neuron: as for ``ConvNet``.
        widths: as for ``ConvNet``, five of them.
        pools: as for ``ConvNet``, five of them.
        hidden: as for ``ConvNet``.
        norm: as for ``ConvNet``.
        fc_norm: as for ``ConvNet``.
        dropout: as for ``ConvNet``.

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: if an option is none of its kind, or pooling leaves nothing.

    Source:
        The repository of Yao et al. 2023, Attention Spiking Neural Networks. Differs from the paper, whose five layers
        are ``PLIF5``.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (2, 128, 128),
        steps: int = 8,
        classes: int = 21,
        attention: AttentionFactory | None = None,
        neuron: NeuronFactory | None = None,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        pools: Sequence[int] = (2, 2, 2, 2, 4),
        hidden: Sequence[int] = (256,),
        norm: bool = True,
        fc_norm: bool = True,
        dropout: Sequence[float] = (),
    ) -> None:
        check_wholes(5, widths=widths, pools=pools)
        super().__init__(
            input_shape=input_shape,
            steps=steps,
            classes=classes,
            attention=attention,
            neuron=neuron,
            widths=widths,
            pools=pools,
            hidden=hidden,
            norm=norm,
            fc_norm=fc_norm,
            dropout=dropout,
        )
