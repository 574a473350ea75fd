"""A data set small enough to be learnt in seconds, networks to learn it, and plugins registered for one test."""

import dataclasses

import pytest
import torch
from hypothesis import settings
from torch import nn

from quietspike.core import AttentionMacs
from quietspike.core.metering import CostMeter
from quietspike.core.networks import build_network
from quietspike.core.neurons import LIF

settings.register_profile("core", deadline=None)
settings.load_profile("core")


class ToySplit:
    def __init__(self, frames, labels):
        self.frames = frames
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.frames[index], int(self.labels[index])


class ToyDataset:
    """Three classes: a bar of events in the upper, middle or lower rows, among noise events."""

    classes = ("upper", "middle", "lower")
    steps = 4
    input_shape = (2, 8, 8)

    def __init__(self, seed=0):
        self.seed = seed

    def split(self, name):
        size = {"train": 36, "validation": 18, "test": 18}[name]
        generator = torch.Generator().manual_seed(100 * self.seed + size + (name == "test"))
        labels = torch.arange(size) % 3
        frames = torch.rand(size, self.steps, *self.input_shape, generator=generator)
        bar = torch.zeros(size, 1, 1, 8, 1)
        for row in range(8):
            bar[:, 0, 0, row, 0] = (labels == row * 3 // 8).float()
        return ToySplit((frames < 0.05 + 0.6 * bar).float(), labels)


SMALL = {"name": "conv3", "widths": [4, 4, 4], "hidden": [12]}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def toy():
    return ToyDataset()


@pytest.fixture
def build(toy):
    """A function that builds a fresh small network for the toy set."""

    def build_small(attention=None, neuron="lif", seed=0, **options):
        return build_network({**SMALL, **options}, {"name": neuron}, attention, toy, seed)

    return build_small


@pytest.fixture
def relay():
    return Relay()


@pytest.fixture
def with_dropout():
    """Attention whose output is random while training."""
    return lambda site: nn.Dropout(0.2)


@pytest.fixture
def register(monkeypatch):
    """``registry.register`` for the length of one test."""

    def register_here(registry, name, plugin):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
        registry.register(name, plugin)

    return register_here


def measure(network, *batches):
    network.eval()
    with torch.no_grad(), CostMeter(network) as meter:
        for frames in batches:
            network(frames)
    return meter.cost()


def bits(*shape, rate=0.4, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


class Relay(nn.Module):
    """Its first layer spikes where the frames hold a 1; its second, fully connected, where a channel spikes at all."""

    def __init__(self):
        super().__init__()
        self.first = LIF(threshold=0.5, decay=0.0)
        self.second = LIF(threshold=0.5, decay=0.0)

    def forward(self, frames):
        return self.second(self.first(frames).amax((3, 4))).mean(0)


def in_batches(frames, *sizes):
    """Frames [T, B, ...] cut into batches of these sizes, with class 0."""
    for part in torch.split(frames, list(sizes) or [frames.shape[1]], dim=1):
        yield part, torch.zeros(part.shape[1], dtype=torch.long)


class Counted(nn.Module):
    def forward(self, x):
        return x / 2

    def macs(self, shape):
        return AttentionMacs(weights=1000, applying=shape[0] * shape[1])


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def untimed(rows):
    return [dataclasses.replace(row, seconds=0) for row in rows]


def refused(check, plugin, sentence):
    with pytest.raises(AssertionError) as caught:
        check(plugin)
    assert sentence in str(caught.value)
