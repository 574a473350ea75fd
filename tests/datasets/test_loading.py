import numpy as np
import pytest
import torch

from quietspike.datasets import FrameArrays, cached


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return {"frames": random.integers(0, 256, (6, 3, 2, 4, 4), dtype=np.uint8), "labels": np.arange(6)}


def test_a_sample_and_a_batch_agree(arrays):
    split = FrameArrays(arrays["frames"], arrays["labels"], np.array([5, 0, 2]))
    frames, labels = split.__getitems__([2, 0, 2])
    assert (frames.dtype, frames.shape) == (torch.float32, (3, 3, 2, 4, 4))
    assert (labels.dtype, labels.tolist()) == (torch.int64, [2, 5, 2])
    for row, index in enumerate([2, 0, 2]):
        sample, label = split[index]
        assert torch.equal(sample, frames[row])
        assert label == labels[row]
        assert isinstance(label, int)
    assert (split[1][0].numpy() == arrays["frames"][0]).all()


def test_without_indices_it_holds_all(arrays):
    split = FrameArrays(arrays["frames"], arrays["labels"])
    assert len(split) == 6
    assert [label for _, label in split] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(IndexError):
        split[6]


def test_batches_of_one_and_of_none(arrays):
    split = FrameArrays(arrays["frames"], arrays["labels"])
    assert split.__getitems__([4])[0].shape == (1, 3, 2, 4, 4)
    assert split.__getitems__([])[0].shape == (0, 3, 2, 4, 4)


def test_the_memory_map_is_neither_copied_nor_written_to(arrays):
    stored = cached({"name": "loading"}, lambda: arrays)
    split = FrameArrays(stored["frames"], stored["labels"], np.array([1, 3]))
    sample, _ = split[0]
    batch, labels = split.__getitems__([0, 1])
    sample.zero_(), batch.zero_(), labels.zero_()
    assert isinstance(stored["frames"], np.memmap)
    assert not stored["frames"].flags.writeable
    assert (split[0][0].numpy() == arrays["frames"][1]).all()
    assert split.labels.tolist() == [1, 3]


def test_torchs_loader_takes_it(arrays):
    loader = torch.utils.data.DataLoader(
        FrameArrays(arrays["frames"], arrays["labels"]), batch_size=4, collate_fn=tuple
    )
    assert [labels.tolist() for _, labels in loader] == [[0, 1, 2, 3], [4, 5]]
