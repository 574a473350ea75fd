"""The five-layer network of PLIF neurons, of the papers' larger event data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from quietspike.core.checks import check_flag, check_frames, check_rate, check_shape, check_whole
from quietspike.core.contracts import AttentionFactory, NeuronFactory
from quietspike.core.dropout import StepDropout
from quietspike.core.errors import OptionError
from quietspike.core.layers import SpikingConv, SpikingLinear, mean_spikes, over_steps
from quietspike.core.neurons import PLIF

CONVOLUTIONS = 5


class PLIF5(nn.Module):
    """Five convolutions with PLIF neurons, two fully connected layers, and a vote.

    Convolutions have no bias and batch normalisation. Max pooling by 2 acts on the spikes before each convolution but
    the first, and once more before the fully connected layers, so H and W are at least 32. A class's score is the mean
    spikes of its voters. The sites are ``input``, ``current`` and ``membrane`` of ``block1`` to ``block5``, ``input``
    behind the pooling, and ``current`` and ``membrane`` of ``fc1`` and ``fc2``.

    Args:
        input_shape: C, H, W of a frame.
        steps: T.
        classes: how many.
        attention: asked for the module of each site; none where ``None``.
        neuron: asked for each neuron layer; ``PLIF`` where ``None``.
        channels: of every convolution.
        hidden: size of the first fully connected layer.
        voters: neurons of the last layer for each class.
        dropout: share of a fully connected layer's input that is dropped, at all steps (ASA-SNN's code: 0).
        fc_bias: whether fully connected layers have a bias (ASA-SNN's code: they have).

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: if an option is none of its kind, or pooling leaves nothing; for frames of another shape.

    Source:
        Fang et al. 2021, Incorporating Learnable Membrane Time Constant, the network for DVS128 Gesture, which MA-SNN
        (five layers) and ASA-SNN (arch B) take over.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int] = (2, 128, 128),
        steps: int = 20,
        classes: int = 11,
        attention: AttentionFactory | None = None,
        neuron: NeuronFactory | None = None,
        channels: int = 128,
        hidden: int = 512,
        voters: int = 10,
        dropout: float = 0.5,
        fc_bias: bool = False,
    ) -> None:
        super().__init__()
        neuron = neuron or PLIF
        check_shape(input_shape=input_shape, steps=steps, classes=classes)
        check_whole(channels=channels, hidden=hidden, voters=voters)
        check_rate(dropout=dropout)
        check_flag(fc_bias=fc_bias)
        into, height, width = input_shape
        if min(height, width) < 2**CONVOLUTIONS:
            raise OptionError(f"input_shape={input_shape!r}: five poolings by 2 need height and width of at least 32")
        self.input_shape, self.steps = input_shape, steps
        self.pool = nn.MaxPool2d(2)
        for number in range(1, CONVOLUTIONS + 1):
            block = SpikingConv(f"block{number}", steps, (into, channels), attention, neuron, bias=False)
            self.add_module(f"block{number}", block)
            into, height, width = channels, height // 2, width // 2
        features = channels * height * width
        self.dropout = StepDropout(dropout)
        self.fc1 = SpikingLinear("fc1", steps, (features, hidden), attention, neuron, norm=False, bias=fc_bias)
        self.fc2 = SpikingLinear("fc2", steps, (hidden, classes * voters), attention, neuron, norm=False, bias=fc_bias)
        self.voters = voters

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores in 0..1: mean spikes over the steps and the voters."""
        check_frames(frames, input_shape=self.input_shape, steps=self.steps)
        x = frames
        for number in range(1, CONVOLUTIONS + 1):
            x = over_steps(self.get_submodule(f"block{number}")(x), self.pool)
        spikes = self.fc2(self.dropout(self.fc1(self.dropout(x.flatten(2)))))
        return mean_spikes(spikes.unflatten(2, (-1, self.voters)), 0, 3)
