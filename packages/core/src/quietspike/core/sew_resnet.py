"""SEW-ResNet: residual networks whose shortcuts carry spikes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from quietspike.core.checks import check_frames, check_shape, check_wholes
from quietspike.core.contracts import AttentionFactory, NeuronFactory, Site
from quietspike.core.integrate_and_fire import integrate_and_fire
from quietspike.core.layers import Attend, SpikingConv, mean_spikes, over_steps
from quietspike.core.stages import add_stages, run_stages


class SEWBlock(nn.Module):
    """Two spiking convolutions, and the spikes of the shortcut added to theirs: 0, 1, 2 and so on.

    Args:
        name: prefix of its sites: those of the ``SpikingConv`` layers ``<name>.conv1``, ``<name>.conv2`` and, where
            there is one, ``<name>.shortcut``; and ``<name>.sum``, on what is added up.
        steps: T.
        channels: input and output channels.
        attention: asked for the modules of these.
        neuron: asked for the neuron layers.
        stride: of the first convolution; where it is 1 and the channels stay, the shortcut is the input itself.

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
    ) -> None:
        super().__init__()
        into, out = channels
        self.conv1 = SpikingConv(f"{name}.conv1", steps, channels, attention, neuron, stride=stride, bias=False)
        self.conv2 = SpikingConv(f"{name}.conv2", steps, (out, out), attention, neuron, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or into != out:
            self.shortcut = SpikingConv(
                f"{name}.shortcut", steps, channels, attention, neuron, kernel=1, stride=stride, bias=False
            )
        self.sum = Attend(Site(f"{name}.sum", "sum", steps, out, spatial=True), attention)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of spikes."""
        out: Tensor = self.sum(self.conv2(self.conv1(x)) + self.shortcut(x))
        return out


class SEWResNet18(nn.Module):
    """The residual network of 18 layers with the ADD connection, of ASA-SNN on HAR-DVS.

    Spiking convolution 7×7 of stride 2, max pooling of its spikes, four stages of two blocks, of which all but the
    first halve height and width, the mean of their output over places and steps, and a fully connected layer. The sites
    are those of ``stem``, a ``SpikingConv``, and of the blocks ``stage1.block1`` to ``stage4.block2``.

    Args:
        input_shape: C, H, W of a frame, of any size.
        steps: T.
        classes: size of the last layer.
        attention: asked for the module of each site; none where ``None``.
        neuron: asked for each neuron layer; where ``None``, integrate-and-fire with threshold 1, the surrogate ``atan``
            and a detached reset.
        widths: channels of each stage, the first also of the stem.

    Shape:
        [T, B, C, H, W] → [B, classes], any real numbers.

    Raises:
        OptionError: if an option is none of its kind; for frames of another shape.

    Source:
        Fang et al. 2021, Deep Residual Learning in Spiking Neural Networks, and its repository's network for ImageNet.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (3, 224, 224),
        steps: int = 4,
        classes: int = 1000,
        attention: AttentionFactory | None = None,
        neuron: NeuronFactory | None = None,
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        neuron = neuron or partial(integrate_and_fire, threshold=1.0, surrogate="atan", detach_reset=True)
        check_shape(input_shape=input_shape, steps=steps, classes=classes)
        check_wholes(4, widths=widths)
        self.input_shape, self.steps = input_shape, steps
        self.stem = SpikingConv(
            "stem", steps, (input_shape[0], widths[0]), attention, neuron, kernel=7, stride=2, bias=False
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        build = partial(SEWBlock, steps=steps, attention=attention, neuron=neuron)
        add_stages(self, build, blocks=(2, 2, 2, 2), widths=widths, strides=(1, 2, 2, 2))
        self.fc = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, SpikingConv):
                nn.init.kaiming_normal_(module.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores."""
        check_frames(frames, input_shape=self.input_shape, steps=self.steps)
        x = run_stages(self, over_steps(self.stem(frames), self.pool))
        scores: Tensor = self.fc(mean_spikes(x, 0, 3, 4).to(self.fc.weight.dtype))
        return scores
