"""The three-layer network of MA-SNN and ASA-SNN."""

from __future__ import annotations

from collections.abc import Sequence

from quietspike.core.checks import check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory
from quietspike.core.convnet import ConvNet


class Conv3(ConvNet):
    """Three convolutions and fully connected layers; the scores are the mean spikes of the last.

    The defaults are MA-SNN's network for DVS128 Gesture at 32×32: 64-128-128 channels, pooling 1-2-2, 8192-256-11 fully
    connected, batch normalisation throughout. ASA-SNN's arch A is ``fc_norm=False, dropout=(0, 0, .1, .1, .1)``, its
    arch D ``fc_norm=False, widths=(32, 32, 32), dropout=(0, 0, .5, .5, .5)``. The sites are ``block1.input``,
    ``block1.current``, ``block1.membrane`` to ``block3``, and ``current`` and ``membrane`` of ``fc1`` and ``fc2``.

    Args:
        input_shape: as for ``ConvNet``.
        steps: as for ``ConvNet``.
        classes: as for ``ConvNet``.
        attention: as for ``ConvNet``.
        neuron: as for ``ConvNet``.
        widths: as for ``ConvNet``, three of them.
        pools: as for ``ConvNet``, three of them.
        hidden: as for ``ConvNet``.
        norm: as for ``ConvNet``.
        fc_norm: as for ``ConvNet``.
        dropout: as for ``ConvNet``.

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: if an option is none of its kind, or pooling leaves nothing.

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
        check_wholes(3, widths=widths, pools=pools)
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
