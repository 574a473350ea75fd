import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import AttentionMacs
from quietspike.core.testing import check_attention, check_dataset

from .conftest import refused


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


class Cheap(Gate):
    """Says that a matrix product is free."""

    def forward(self, x):
        return x + x.mean() * 0 + nn.functional.linear(x, torch.eye(x.shape[-1]))

    def macs(self, shape):
        return AttentionMacs(0, 0)


class InPlace(Gate):
    def forward(self, x):
        return x * 1 if not self.training else torch.sigmoid(x.data.mul_(2) + x)


class NanInTraining(Gate):
    def __init__(self, site, *, power=1):
        super().__init__(site, power=power)
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x * self.factor.sqrt() if self.training else x * (1 + self.factor)


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Flat, "(4, 3, 6, 5, 5) became (4, 3, 6, 25)"),
        (NotFinite, "not finite at (4, 3, 6, 5, 5)"),
        (Social, "a sample's output depends on its batch neighbours"),
        (Detached, "no gradient reaches the input"),
        (SteepRoot, "the input's gradient is not finite"),
        (Paid, "macs() gives AttentionMacs(weights=-1, applying=0)"),
        (Cheap, "macs() gives AttentionMacs(weights=0, applying=0), products alone are 3000"),
        (InPlace, "the input is changed in place"),
        (NanInTraining, "a gradient of the training pass is not finite"),
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


class Arrays:
    """A data set of numpy frames, whose splits fetch whole batches."""

    classes = ("a", "b")
    steps = 2
    input_shape = (2, 4, 4)
    samples = 5

    def __init__(self, first=0):
        self.first = first

    def split(self, name):
        return type(self)(first={"train": 0, "validation": 10, "test": 20}[name])

    def __len__(self):
        return self.samples

    def frames(self, index):
        return np.full((2, 2, 4, 4), self.first + index, dtype=np.uint8)

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


class LateThirdClass(Arrays):
    def __getitem__(self, index):
        return self.frames(index), index // 4 * 2


class Unending(Arrays):
    def frames(self, index):
        return np.where(index == 3, np.inf, super().frames(index).astype(np.float32))


class Leaking(Arrays):
    def split(self, name):
        return type(self)(first={"train": 0, "validation": 10, "test": 14}[name])


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
        (ShortOfAStep, "train: frames of sample 0 have shape (1, 2, 4, 4), not (2, 2, 4, 4)"),
        (ChannelsLast, "train: frames of sample 0 have shape (2, 4, 4, 2), not (2, 2, 4, 4)"),
        (Shaky, "train: sample 0 differs when it is read again"),
        (ThirdClass, "train: class 2 of 2"),
        (LateThirdClass, "train: class 2 of 2"),
        (Unending, "train: frames of sample 3 are not finite"),
        (Leaking, "test: sample 0 is in validation too"),
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
            return Empty() if name == "test" else Arrays().split(name)

    refused(check_dataset, NoTest(), "test is empty")
