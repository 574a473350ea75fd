import itertools

import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import BACKBONES, NEURONS, AttentionMacs, Site
from quietspike.core.conv3 import Conv3
from quietspike.core.layers import Attend, SpikingConv, SpikingLinear
from quietspike.core.neurons import LIF
from quietspike.core.testing import check_attention, check_backbone, check_dataset, check_neuron


def refused(check, plugin, sentence):
    with pytest.raises(AssertionError) as caught:
        check(plugin)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", NEURONS.names())
def test_every_registered_neuron_passes(name):
    check_neuron(NEURONS.get(name))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_registered_backbone_passes(name):
    check_backbone(BACKBONES.get(name))


def test_options_are_handed_on():
    check_backbone(Conv3, input_shape=(1, 12, 9), widths=(3, 3, 3), hidden=())


def test_the_checks_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    check_neuron(LIF)
    check_attention(lambda site: nn.Identity())
    check_backbone(SmallBackbone)
    assert torch.equal(torch.get_rng_state(), state)


class Wrapped(LIF):
    """LIF with a hand in its way."""

    def __init__(self, membrane=None):
        super().__init__(membrane=membrane)


class Wide(Wrapped):
    def forward(self, current):
        return super().forward(current).flatten(3)


class Silent(Wrapped):
    def forward(self, current):
        return super().forward(current) * 0


class Remembering(Wrapped):
    held = None

    def forward(self, current):
        spikes = []
        for now in current:
            spike, self.held = self.step(now, self.held)
            spikes.append(spike)
        return torch.stack(spikes)


class TwoMinds(Wrapped):
    def step(self, current, state):
        spikes, state = super().step(current, state)
        return spikes, state if state is None else state * 0.5

    def forward(self, current):
        return LIF(membrane=self.membrane)(current)


class NoGradient(Wrapped):
    def forward(self, current):
        return super().forward(current.detach()) + 0 * current.detach()


class CutOff(Wrapped):
    def forward(self, current):
        return super().forward(current.detach()) + 0 * current


class Deaf(Wrapped):
    def __init__(self, membrane=None):
        super().__init__()


class AllAtOnce(Wrapped):
    def __init__(self, membrane=None):
        super().__init__()
        self.gate = membrane

    def forward(self, current):
        return super().forward(current if self.gate is None else self.gate(current))


class LooksAndIgnores(Wrapped):
    def __init__(self, membrane=None):
        super().__init__()
        self.gate = membrane

    def step(self, current, state):
        if self.gate is not None:
            self.gate(current.unsqueeze(0))
        return super().step(current, state)


class Sociable(Wrapped):
    def step(self, current, state):
        return super().step(current - 0.3 * current.mean(0), state)


class NoStep(nn.Module):
    def __init__(self, membrane=None):
        super().__init__()


class NoModule:
    def __init__(self, membrane=None):
        pass

    def forward(self, current):
        return current

    def step(self, current, state):
        return current, state


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (NoStep, "a neuron is an nn.Module with step()"),
        (NoModule, "a neuron is an nn.Module with step()"),
        (Wide, "spikes have shape (6, 3, 8, 81), not the current's"),
        (Silent, "a strong current gives no finite spikes"),
        (Remembering, "a second call differs: something is kept between calls"),
        (TwoMinds, "step() by step differs from forward()"),
        (NoGradient, "no gradient reaches the current"),
        (CutOff, "no gradient reaches the current"),
        (Deaf, "membrane is not called once a step with [1, B, ...]"),
        (AllAtOnce, "membrane is not called once a step with [1, B, ...]"),
        (LooksAndIgnores, "spikes do not follow the membrane's result"),
        (Sociable, "a sample's output depends on its batch neighbours"),
    ],
)
def test_a_broken_neuron_is_refused(plugin, sentence):
    refused(check_neuron, plugin, sentence)


class Gate(nn.Module):
    def __init__(self, site, *, power=1):
        super().__init__()
        self.site, self.power = site, power

    def forward(self, x):
        return x * torch.sigmoid(x.mean((0, 2, 3, 4), keepdim=True)) ** self.power


class Flat(Gate):
    def forward(self, x):
        return x.flatten(3)


class NotFinite(Gate):
    def forward(self, x):
        return x / (x - x)


class Squeezing(Gate):
    def forward(self, x):
        return x * torch.sigmoid(x.mean((0, 2, 3, 4))).squeeze()[None, :, None, None, None].squeeze()


class Social(Gate):
    def forward(self, x):
        return x * torch.sigmoid(x.mean())


class Detached(Gate):
    def forward(self, x):
        return x.detach() * 0.5


class SteepRoot(Gate):
    def forward(self, x):
        return x + (0 * x).abs().sqrt()


class Paid(Gate):
    def macs(self, shape):
        return AttentionMacs(-1, 0)


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Flat, "(4, 3, 6, 5, 5) became (4, 3, 6, 25)"),
        (NotFinite, "not finite at (4, 3, 6, 5, 5)"),
        (Social, "a sample's output depends on its batch neighbours"),
        (Detached, "no gradient reaches the input"),
        (SteepRoot, "the input's gradient is not finite"),
        (Paid, "macs() gives AttentionMacs(weights=-1, applying=0)"),
    ],
)
def test_a_broken_attention_is_refused(plugin, sentence):
    refused(check_attention, plugin, sentence)


def test_a_sound_attention_passes_with_its_options():
    check_attention(Gate, power=2)
    with pytest.raises(TypeError):
        check_attention(Gate, powr=2)


def test_smallest_sizes_are_tried():
    seen = []

    class Look(Gate):
        def forward(self, x):
            seen.append((self.site.steps, *x.shape))
            return super().forward(x)

    check_attention(Look)
    assert (1, 1, 1, 1, 1, 1) in seen
    assert all(steps == shape[0] for steps, *shape in seen)


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


class EveryStep(SmallBackbone):
    def forward(self, frames):
        return self.fc1(self.block1(frames))


class OwnSpikes(SmallBackbone):
    def __init__(self, **options):
        class Step(nn.Module):
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
        (WrongSteps, "extra.input says 7 steps and sees (3, 2, 2, 32, 32)"),
        (WrongChannels, "extra.input says 5 channels and sees (3, 2, 2, 32, 32)"),
        (WrongSpace, "extra.input says spatial=False and sees (3, 2, 2, 32, 32)"),
        (Crowd, "a sample's output depends on its batch neighbours"),
    ],
)
def test_a_broken_backbone_is_refused(plugin, sentence):
    refused(check_backbone, plugin, sentence)


def test_a_sound_backbone_passes():
    check_backbone(SmallBackbone)


class Arrays:
    """A data set of numpy frames, whose splits fetch whole batches."""

    classes = ("a", "b")
    steps = 2
    input_shape = (2, 4, 4)
    samples = 5

    def split(self, name):
        return self

    def __len__(self):
        return self.samples

    def frames(self, index):
        return np.full((2, 2, 4, 4), index, dtype=np.uint8)

    def __getitem__(self, index):
        return self.frames(index), index % 2

    def __getitems__(self, indices):
        return np.stack([self.frames(index) for index in indices]), [index % 2 for index in indices]


class Empty(Arrays):
    samples = 0


class ShortOfAStep(Arrays):
    def frames(self, index):
        return super().frames(index)[:1]


class ChannelsLast(Arrays):
    def frames(self, index):
        return super().frames(index).transpose(0, 2, 3, 1)


class Shaky(Arrays):
    def frames(self, index):
        return np.random.default_rng().random((2, 2, 4, 4))


class ThirdClass(Arrays):
    def __getitem__(self, index):
        return self.frames(index), 2


class OtherFrames(Arrays):
    def __getitems__(self, indices):
        frames, labels = super().__getitems__(indices)
        return frames + 1, labels


class OtherClasses(Arrays):
    def __getitems__(self, indices):
        frames, labels = super().__getitems__(indices)
        return frames, labels[::-1]


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Empty, "train is empty"),
        (ShortOfAStep, "train: frames have shape (1, 2, 4, 4), not (2, 2, 4, 4)"),
        (ChannelsLast, "train: frames have shape (2, 4, 4, 2), not (2, 2, 4, 4)"),
        (Shaky, "train: sample 0 differs when it is read again"),
        (ThirdClass, "train: class 2 of 2"),
        (OtherFrames, "train: __getitems__ differs from __getitem__"),
        (OtherClasses, "train: __getitems__ gives another class than __getitem__"),
    ],
)
def test_a_broken_data_set_is_refused(plugin, sentence):
    refused(check_dataset, plugin(), sentence)


def test_sound_data_sets_pass(toy):
    check_dataset(Arrays())
    check_dataset(toy)


def test_every_split_is_looked_at():
    class NoTest(Arrays):
        def split(self, name):
            return Empty() if name == "test" else self

    refused(check_dataset, NoTest(), "test is empty")
