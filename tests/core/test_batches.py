import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch.utils.data import Subset, TensorDataset

from quietspike.core import DataError
from quietspike.core.batches import Batches


class Numbered:
    """Sample i is filled with i; its class is i, too."""

    def __init__(self, count, kind="uint8 array"):
        self.count, self.kind = count, kind

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        frames = np.full((3, 2, 4, 5), index, dtype=np.uint8)
        return (torch.from_numpy(frames) if self.kind == "tensor" else frames), index


class Whole(Numbered):
    def __init__(self, count):
        super().__init__(count)
        self.asked = []

    def __getitem__(self, index):
        raise AssertionError("one by one")

    def __getitems__(self, indices):
        self.asked.append(list(indices))
        frames = np.stack([np.full((3, 2, 4, 5), index, dtype=np.uint8) for index in indices])
        return frames, np.array(indices)


def order(batches, epoch=0):
    return [label for _, labels in batches.epoch(epoch) for label in labels.tolist()]


@given(
    count=st.integers(1, 50), size=st.integers(1, 60), seed=st.none() | st.integers(0, 10**6), epoch=st.integers(0, 99)
)
def test_an_epoch_shows_every_sample_once(count, size, seed, epoch):
    batches = Batches(Numbered(count), size, seed)
    assert sorted(order(batches, epoch)) == list(range(count))
    sizes = [len(labels) for _, labels in batches.epoch(epoch)]
    whole = [size] * (count // size) + [count % size] * (count % size > 0)
    if seed is not None and size > 1 and len(whole) > 1 and whole[-1] == 1:
        whole[-2:] = [size + 1]
    assert sizes == whole


@pytest.mark.parametrize("kind", ["uint8 array", "tensor"])
def test_frames_come_as_float32_with_steps_first(kind):
    for frames, labels in Batches(Numbered(7, kind), 3, seed=0).epoch():
        assert frames.shape == (3, len(labels), 2, 4, 5)
        assert (frames.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert frames.is_contiguous()
        assert torch.equal(frames, labels[None, :, None, None, None].expand_as(frames).float())


def test_the_order_depends_on_seed_and_epoch_alone():
    batches = Batches(Numbered(30), 4, seed=5)
    third = order(batches, 3)
    torch.manual_seed(77)
    list(batches.epoch(0))
    assert order(batches, 3) == third == order(Batches(Numbered(30), 7, seed=5), 3)
    orders = {tuple(order(Batches(Numbered(30), 4, seed), epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_without_a_seed_the_order_is_the_splits_own():
    assert order(Batches(Numbered(9), 2), 5) == list(range(9))


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    list(Batches(Numbered(9), 2, seed=1).epoch())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_is_fetched_at_once_where_the_split_can():
    split = Whole(8)
    shown = list(Batches(split, 3, seed=2).epoch(1))
    assert split.asked == [labels.tolist() for _, labels in shown]
    assert order(Batches(split, 3, seed=2), 1) == order(Batches(Numbered(8), 3, seed=2), 1)
    assert shown[0][0].shape == (3, 3, 2, 4, 5)
    assert shown[0][0].dtype == torch.float32


def test_torchs_own_subset_is_a_split():
    frames = torch.arange(5.0).reshape(5, 1, 1, 1, 1).expand(5, 3, 2, 4, 4)
    split = Subset(TensorDataset(frames, torch.arange(5)), [4, 1, 3])
    assert order(Batches(split, 2)) == [4, 1, 3]
    first, _ = next(Batches(split, 2).epoch())
    assert first.shape == (3, 2, 2, 4, 4)
    assert first[0, :, 0, 0, 0].tolist() == [4, 1]


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"^a split without samples cannot be cut into batches$"):
        next(Batches(Numbered(0), 4).epoch())


class Drawn(Numbered):
    """Its class tells epoch and seed."""

    def at_epoch(self, number, seed):
        drawn = Drawn(self.count)
        drawn.drawn = 10 * number + seed
        return drawn

    def __getitem__(self, index):
        return super().__getitem__(index)[0], self.drawn


def test_a_split_that_differs_between_epochs_is_asked_for_each():
    batches = Batches(Drawn(5), 2, seed=4)
    assert [order(batches, epoch) for epoch in (0, 3, 3)] == [[4] * 5, [34] * 5, [34] * 5]
    assert order(Batches(Drawn(5), 2), epoch=2) == [20] * 5
