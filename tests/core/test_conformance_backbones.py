import itertools

import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import BACKBONES, OptionError, Site
from quietspike.core.conv3 import Conv3
from quietspike.core.layers import Attend, SpikingConv, SpikingLinear, over_steps
from quietspike.core.ms_resnet import MSBlock, MSResNet
from quietspike.core.neurons import LIF
from quietspike.core.stages import run_stages
from quietspike.core.testing import check_attention, check_backbone, check_neuron

from .conftest import refused

SMALL = {
    "conv3": {},
    "conv5": {"widths": (4, 4, 4, 4, 4), "pools": (2, 2, 2, 2, 1), "hidden": (8,)},
    "plif5": {"channels": 4, "hidden": 8, "voters": 2},
    "ms_resnet18": {"widths": (4, 5, 6, 7)},
    "ms_resnet34": {"widths": (4, 5, 6, 7)},
    "ms_resnet104": {"widths": (4, 5, 6, 7)},
    "sew_resnet18": {"widths": (4, 5, 6, 7)},
}


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_passes(name):
    check_backbone(BACKBONES.get(name), **SMALL[name])


@pytest.mark.parametrize("size", [(32, 47), (64, 64)])
@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_takes_other_sizes_and_one_step(name, size):
    options = {"input_shape": (3, *size), "steps": 1, "classes": 2, **SMALL[name]}
    network = BACKBONES.get(name)(**options).eval()
    with torch.no_grad():
        scores = network(torch.rand(1, 1, 3, *size))
    assert scores.shape == (1, 2)


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 1, 3, 32, 32), (2, 1, 2, 32, 31), (1, 2, 2, 32, 32), (2, 2)])
@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_refuses_frames_of_another_shape(name, shape):
    network = BACKBONES.get(name)(**{"input_shape": [2, 32, 32], "steps": 2, "classes": 3, **SMALL[name]})
    with pytest.raises(OptionError) as caught:
        network(torch.zeros(shape))
    assert str(caught.value) == f"frames={list(shape)}: must be [T, B, C, H, W] = [2, B, 2, 32, 32]"


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_takes_numpys_numbers(name):
    size, steps, classes, least = (np.int64(number) for number in (32, 2, 3, 2))
    network = BACKBONES.get(name)(input_shape=(least, size, size), steps=steps, classes=classes, **SMALL[name])
    assert network.eval()(torch.zeros(2, 1, 2, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (2, 32)}, "input_shape=(2, 32): must be a list of 3 whole numbers of at least 1"),
        ({"input_shape": (2, 0, 32)}, "input_shape=(2, 0, 32): must be a list of 3 whole numbers of at least 1"),
        ({"steps": 1.5}, "steps=1.5: must be a whole number of at least 1"),
        ({"classes": 0}, "classes=0: must be a whole number of at least 1"),
        ({"classes": True}, "classes=True: must be a whole number of at least 1"),
        ({"steps": np.float64(2)}, f"steps={np.float64(2)!r}: must be a whole number of at least 1"),
        ({"steps": np.True_}, f"steps={np.True_!r}: must be a whole number of at least 1"),
    ],
)
@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_refuses_what_it_cannot_be_built_for(name, options, message):
    with pytest.raises(OptionError) as caught:
        BACKBONES.get(name)(**{"input_shape": (2, 32, 32), "steps": 2, "classes": 3, **SMALL[name], **options})
    assert str(caught.value) == message


def test_options_are_handed_on():
    check_backbone(Conv3, input_shape=(1, 12, 9), widths=(3, 3, 3), hidden=())


def test_the_checks_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    check_neuron(LIF)
    check_attention(lambda site: nn.Identity())
    check_backbone(SmallBackbone)
    assert torch.equal(torch.get_rng_state(), state)


class SmallBackbone(nn.Module):
    """One convolution and a readout."""

    name = "block1"

    def __init__(self, *, input_shape, steps, classes, attention=None, neuron=None):
        super().__init__()
        neuron = neuron or LIF
        channels, height, width = input_shape
        self.steps, self.classes = steps, classes
        self.block1 = SpikingConv(self.name, steps, (channels, 4), attention, neuron)
        self.fc1 = SpikingLinear("fc1", steps, (4 * height * width, classes), attention, neuron)
        self.more(attention)

    def more(self, attention):
        """What a broken one adds."""

    def forward(self, frames):
        return self.fc1(self.block1(frames)).mean(0)


class TwiceTheSame(SmallBackbone):
    name = "fc1"


class SecondSite(SmallBackbone):
    site = Site("extra.current", "current", 3, 2, spatial=True)

    def more(self, attention):
        self.extra = Attend(self.site, attention)


class NeverUsed(SecondSite):
    pass


class WrongSignal(SecondSite):
    site = Site("extra.late", "input", 3, 2, spatial=True)

    def forward(self, frames):
        return super().forward(self.extra(frames))


class WrongSteps(WrongSignal):
    site = Site("extra.input", "input", 7, 2, spatial=True)


class WrongChannels(WrongSignal):
    site = Site("extra.input", "input", 3, 5, spatial=True)


class WrongSpace(WrongSignal):
    site = Site("extra.input", "input", 3, 2, spatial=False)


class Outside(SmallBackbone):
    def more(self, attention):
        site = Site("extra.input", "input", 3, 2, spatial=True)
        self.extra = nn.Identity() if attention is None else attention(site)


class NoSites(SmallBackbone):
    def __init__(self, *, attention=None, **options):
        super().__init__(**options)


class Unsteady(SmallBackbone):
    numbers = itertools.count()

    def more(self, attention):
        site = Site(f"extra{next(self.numbers)}.input", "input", 3, 2, spatial=True)
        self.extra = Attend(site, attention)

    def forward(self, frames):
        return super().forward(self.extra(frames))


class Unused(SecondSite):
    site = Site("extra.input", "input", 3, 2, spatial=True)

    def forward(self, frames):
        self.extra(frames)
        return super().forward(frames)


class Streaming(SmallBackbone):
    def forward(self, frames):
        block, state, spikes = self.block1, None, []
        for current in block.current(over_steps(block.input(frames), block.conv, block.norm)):
            spike, state = block.neuron.step(current, state)
            spikes.append(spike)
        return self.fc1(torch.stack(spikes)).mean(0)


class EveryStep(SmallBackbone):
    def forward(self, frames):
        return self.fc1(self.block1(frames))


class OwnSpikes(SmallBackbone):
    def __init__(self, **options):
        class Step(nn.Module):
            def __init__(self, membrane=None):
                super().__init__()

            def forward(self, x):
                return (x > 0).float()

        super().__init__(**{**options, "neuron": Step})


class Crowd(SmallBackbone):
    def forward(self, frames):
        return super().forward(frames - frames.mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (EveryStep, "scores have shape (3, 2, 4), not (2, 4)"),
        (OwnSpikes, "no neuron of the contract was found: spikes cannot be counted"),
        (TwiceTheSame, "site names are not unique: ["),
        (NoSites, "site names are not unique: []"),
        (WrongSignal, "extra.late does not end with its signal, input"),
        (Outside, "attention stands outside of Attend: its cost would count as synapses"),
        (Unsteady, "list_sites() finds other sites than a real build"),
        (NeverUsed, "extra.current was asked for and never used"),
        (Unused, "what attention gives at extra.input is not used"),
        (Streaming, "forward() of block1.neuron is not called: its spikes are not counted"),
        (WrongSteps, "extra.input says 7 steps and sees (3, 2, 2, 32, 32)"),
        (WrongChannels, "extra.input says 5 channels and sees (3, 2, 2, 32, 32)"),
        (WrongSpace, "extra.input says spatial=False and sees (3, 2, 2, 32, 32)"),
        (Crowd, "a sample's output depends on its batch neighbours"),
    ],
)
def test_a_broken_backbone_is_refused(plugin, sentence):
    refused(check_backbone, plugin, sentence)


class DeafStem(MSResNet):
    def forward(self, frames):
        self.input(frames)
        x = run_stages(self, over_steps(frames, self.stem))
        return self.fc(self.head(x).mean((0, 3, 4)))


def test_a_residual_network_that_ignores_the_attention_of_its_stem_is_refused():
    with pytest.raises(AssertionError, match=r"^what attention gives at stem\.input is not used$"):
        check_backbone(DeafStem, **SMALL["ms_resnet18"])


def test_a_residual_network_that_ignores_the_attention_on_a_sum_is_refused(monkeypatch):
    def forward(block, x):
        out = block.current(block.conv2(block.conv1(x))) + over_steps(x, block.shortcut)
        block.sum(out)
        return out

    monkeypatch.setattr(MSBlock, "forward", forward)
    with pytest.raises(AssertionError, match=r"^what attention gives at stage1\.block1\.sum is not used$"):
        check_backbone(MSResNet, **SMALL["ms_resnet18"])


def test_a_sound_backbone_passes():
    check_backbone(SmallBackbone)
