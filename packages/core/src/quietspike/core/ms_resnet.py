"""MS-ResNet: residual networks whose shortcuts carry membrane currents, with attention in every block."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from quietspike.core.checks import check_frames, check_positive, check_rate, check_shape, check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory, Site
from quietspike.core.layers import Attend, build_neuron, mean_spikes, over_steps
from quietspike.core.neurons import LIF
from quietspike.core.norm import PooledNorm
from quietspike.core.stages import add_stages, run_stages

RESIDUAL_SHARE = 0.2
"""How much smaller the weights of a block's last normalisation begin."""


class FiringConv(nn.Module):
    """A neuron, with attention at ``membrane``; attention at ``input``, on its spikes; convolution; normalisation.

    Args:
        name: prefix of its two sites.
        steps: T.
        channels: input and output channels.
        attention: asked for the modules of ``<name>.membrane`` and ``<name>.input``.
        neuron: asked for the neuron layer.
        stride: of the convolution.
        scale: what the weights of the normalisation begin with.

    Shape:
        [T, B, C_in, H, W] → [T, B, C_out, ⌈H / stride⌉, ⌈W / stride⌉].
    """

    def __init__(
        self,
        name: str,
        steps: int,
        channels: tuple[int, int],
        attention: AttentionFactory | None,
        neuron: NeuronFactory,
        *,
        stride: int,
        scale: float,
    ) -> None:
        super().__init__()
        into, out = channels
        self.neuron = build_neuron(Site(f"{name}.membrane", "membrane", 1, into, spatial=True), attention, neuron)
        self.input = Attend(Site(f"{name}.input", "input", steps, into, spatial=True), attention)
        self.conv = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        self.norm = scaled_norm(out, scale)

    def forward(self, current: Tensor) -> Tensor:
        """The next current."""
        return over_steps(self.input(self.neuron(current)), self.conv, self.norm)


class MSBlock(nn.Module):
    """The residual block: two firing convolutions, and a shortcut of currents.

        out = Att-2(Att-1(conv2(conv1(x))) + shortcut(x));  shortcut: average pooling by the stride, 1×1, normalisation

    Args:
        name: prefix of its sites: ``<name>.current`` is Att-1, on the block's current before the sum, ``<name>.sum`` is
            Att-2; and ``membrane`` and ``input`` of ``<name>.conv1`` and ``<name>.conv2``.
        steps: T.
        channels: input and output channels.
        attention: asked for the modules of these.
        neuron: asked for both neuron layers.
        stride: of the first convolution; where it is 1 and the channels stay, the shortcut is the input itself.
        scale: what the weights of normalisations begin with; a fifth of it at the second convolution.

    Shape:
        [T, B, C_in, H, W] → [T, B, C_out, ⌈H / stride⌉, ⌈W / stride⌉].
    """

    def __init__(
        self,
        name: str,
        steps: int,
        channels: tuple[int, int],
        attention: AttentionFactory | None,
        neuron: NeuronFactory,
        *,
        stride: int = 1,
        scale: float = 0.5,
    ) -> None:
        super().__init__()
        into, out = channels
        self.conv1 = FiringConv(f"{name}.conv1", steps, channels, attention, neuron, stride=stride, scale=scale)
        self.conv2 = FiringConv(
            f"{name}.conv2", steps, (out, out), attention, neuron, stride=1, scale=RESIDUAL_SHARE * scale
        )
        self.current = Attend(Site(f"{name}.current", "current", steps, out, spatial=True), attention)
        self.shortcut = nn.Sequential()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(into, out, 1, bias=False), scaled_norm(out, scale)
            )
        self.sum = Attend(Site(f"{name}.sum", "sum", steps, out, spatial=True), attention)

    def forward(self, x: Tensor) -> Tensor:
        """The next block's current."""
        current = self.current(self.conv2(self.conv1(x)))
        out: Tensor = self.sum(current + over_steps(x, self.shortcut))
        return out


class MSResNet(nn.Module):
    """MA-SNN's residual network for images and events.

    Convolution 7×7 of stride 2; four stages of blocks, each of which halves height and width in its first block; a last
    neuron layer, the mean of its spikes over places and steps, dropout and a fully connected layer. The sites are
    ``stem.input``; in each block, as ``stage1.block1``, those of ``MSBlock``; and ``head.membrane``. A uniform
    placement takes ``stage1.block1.current`` and so on: Att-1, once a block.

    Args:
        input_shape: C, H, W of a frame, of any size.
        steps: T.
        classes: size of the last layer.
        attention: asked for the module of each site; none where ``None``.
        neuron: asked for each neuron layer; where ``None``, ``LIF`` with threshold 0.5, decay 0.25, a rectangular
            surrogate of half-width 0.5 and a detached reset.
        blocks: in each stage.
        widths: channels of each stage, the first also of the stem.
        dropout: before the fully connected layer.
        norm_scale: what the weights of normalisations begin with, the neuron's threshold; a fifth of it at the last of
            each block.

    Shape:
        [T, B, C, H, W] → [B, classes], any real numbers.

    Raises:
        OptionError: if an option is none of its kind; for frames of another shape.

    Source:
        Hu et al. 2021, Advancing Spiking Neural Networks towards Deep Residual Learning (MS-ResNet); Yao et al. 2023,
        Attention Spiking Neural Networks, and its repository. Differs: a potential equal to the threshold fires; the
        shortcut's pooling rounds odd sizes up, as the convolution beside it does.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (3, 224, 224),
        steps: int = 1,
        classes: int = 1000,
        attention: AttentionFactory | None = None,
        neuron: NeuronFactory | None = None,
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.2,
        norm_scale: float = 0.5,
    ) -> None:
        super().__init__()
        neuron = neuron or partial(LIF, threshold=0.5, decay=0.25, surrogate_scale=0.5, detach_reset=True)
        check_shape(input_shape=input_shape, steps=steps, classes=classes)
        check_wholes(4, blocks=blocks, widths=widths)
        check_rate(dropout=dropout)
        check_positive(norm_scale=norm_scale)
        self.input_shape, self.steps = input_shape, steps
        self.input = Attend(Site("stem.input", "input", steps, input_shape[0], spatial=True), attention)
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], widths[0], 7, 2, padding=3, bias=False), scaled_norm(widths[0], norm_scale)
        )
        build = partial(MSBlock, steps=steps, attention=attention, neuron=neuron, scale=norm_scale)
        add_stages(self, build, blocks, widths, strides=(2, 2, 2, 2))
        self.head = build_neuron(Site("head.membrane", "membrane", 1, widths[-1], spatial=True), attention, neuron)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores."""
        check_frames(frames, input_shape=self.input_shape, steps=self.steps)
        x = run_stages(self, over_steps(self.input(frames), self.stem))
        scores: Tensor = self.fc(self.dropout(mean_spikes(self.head(x), 0, 3, 4).to(self.fc.weight.dtype)))
        return scores


def scaled_norm(channels: int, scale: float) -> PooledNorm:
    """Batch normalisation whose weights begin with ``scale``."""
    norm = PooledNorm(channels)
    nn.init.constant_(norm.weight, scale)
    return norm


ms_resnet18 = partial(MSResNet, blocks=(2, 2, 2, 2))
"""``MSResNet`` of 18 layers."""

ms_resnet34 = partial(MSResNet, blocks=(3, 4, 6, 3))
"""``MSResNet`` of 34 layers."""

ms_resnet104 = partial(MSResNet, blocks=(3, 8, 32, 8))
"""``MSResNet`` of 104 layers."""
