from itertools import product

import pytest
import torch
from torch import nn

from quietspike.core.layers import over_steps
from quietspike.core.metering import CostMeter
from quietspike.core.neurons import LIF

from .conftest import bits, measure


class OneConvolution(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv
        self.neuron = LIF()

    def forward(self, frames):
        return self.neuron(over_steps(frames, self.conv)).mean(0)


def count_operations(conv, frames):
    """Every output, every weight it has, and whether an input that is not zero stands there."""
    (kh, kw), (sh, sw), (dh, dw), (ph, pw) = conv.kernel_size, conv.stride, conv.dilation, conv.padding
    each = conv.in_channels // conv.groups
    height, width = frames.shape[-2:]
    total = 0
    for frame in frames.flatten(0, 1).tolist():
        for y, x in product(
            range((height + 2 * ph - dh * (kh - 1) - 1) // sh + 1),
            range((width + 2 * pw - dw * (kw - 1) - 1) // sw + 1),
        ):
            for out, c, i, j in product(range(conv.out_channels), range(each), range(kh), range(kw)):
                channel = out // (conv.out_channels // conv.groups) * each + c
                row, column = y * sh - ph + i * dh, x * sw - pw + j * dw
                if 0 <= row < height and 0 <= column < width:
                    total += frame[channel][row][column] != 0
    return total


CONVOLUTIONS = [
    nn.Conv2d(2, 3, 3, padding=1),
    nn.Conv2d(2, 3, 3),
    nn.Conv2d(2, 4, 3, stride=2, padding=1),
    nn.Conv2d(2, 4, (3, 2), stride=(1, 2), padding=(2, 0)),
    nn.Conv2d(4, 6, 3, padding=1, groups=2),
    nn.Conv2d(2, 2, 3, padding=2, dilation=2),
    nn.Conv2d(2, 3, 1),
    nn.Conv2d(2, 3, 5, padding=2, stride=3),
]


@pytest.mark.parametrize("conv", CONVOLUTIONS, ids=str)
def test_synaptic_operations_are_counted_weight_by_weight(conv):
    frames = bits(2, 2, conv.in_channels, 5, 6) * 3
    cost = measure(OneConvolution(conv), frames)
    assert cost.layers[0].synaptic_operations == count_operations(conv, frames) / 2
    assert cost.synaptic_operations == count_operations(conv, frames) / 2


def test_same_padding_is_counted_too():
    frames = bits(1, 1, 2, 5, 6)
    named = measure(OneConvolution(nn.Conv2d(2, 3, 3, padding="same")), frames)
    assert named.synaptic_operations == count_operations(nn.Conv2d(2, 3, 3, padding=1), frames)


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_padding_with_the_input_itself_is_counted(mode):
    conv = nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode)
    frames = bits(2, 2, 2, 5, 6)
    padded = torch.stack([nn.functional.pad(step, (2, 2, 1, 1), mode=mode) for step in frames])
    unpadded = nn.Conv2d(2, 3, 3)
    assert measure(OneConvolution(conv), frames).synaptic_operations == count_operations(unpadded, padded) / 2


def test_frames_of_another_size_have_borders_of_their_own():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    small, large = bits(2, 1, 2, 4, 4), bits(2, 1, 2, 6, 7)
    both = measure(OneConvolution(conv), small, large).synaptic_operations
    assert both == (count_operations(conv, small) + count_operations(conv, large)) / 2


def test_it_counts_in_inference_mode():
    conv, frames = nn.Conv2d(2, 3, 3, padding=1), bits(1, 1, 2, 5, 6)
    network = OneConvolution(conv).eval()
    with torch.inference_mode(), CostMeter(network) as meter:
        network(frames=frames)
    assert meter.cost().synaptic_operations == count_operations(conv, frames)


def test_an_input_at_the_corner_meets_four_of_nine_weights():
    frames = torch.zeros(1, 1, 1, 4, 4)
    frames[0, 0, 0, 0, 0] = 1
    conv = nn.Conv2d(1, 5, 3, padding=1)
    assert measure(OneConvolution(conv), frames).synaptic_operations == 4 * 5
    assert measure(OneConvolution(conv), frames.roll((1, 1), (3, 4))).synaptic_operations == 9 * 5
