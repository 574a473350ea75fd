import os

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.core.testing import check_dataset
from quietspike.datasets import NMNIST, Framing, read_recording, to_frames

from .conftest import random_events, tuples, write
from .formats.conftest import atis_bin

SIZE = (34, 34, 2)
SPLITS = ("train", "validation", "test")


def recording(seed):
    return atis_bin(tuples(random_events(seed)))


@pytest.fixture
def listed(tmp_path):
    """Twenty training and five test recordings with lists, of two classes."""
    root = tmp_path / "listed"
    for name, samples in {"train20.txt": range(1, 21), "test5.txt": range(101, 106)}.items():
        for sample in samples:
            write(root / f"{sample}.{'bin' if sample % 3 else 'bs2'}", recording(sample))
        lines = [f"{sample}\t{sample % 2}" for sample in samples]
        write(root / name, "\n".join(["#sample #class", *lines]))
    return root


@pytest.fixture
def foldered(tmp_path):
    """The layout of the published archives, a few recordings a class."""

    def put(inner):
        for part, number in {"Train": 5, "Test": 2}.items():
            for label in range(10):
                for sample in range(number):
                    seed = label * 100 + sample + (part == "Test") * 50
                    write(tmp_path / "root" / inner / part / str(label) / f"{sample:05}.bin", recording(seed))
        return tmp_path / "root"

    return put


def test_it_keeps_the_contract(listed):
    check_dataset(NMNIST(root=listed))


def test_the_small_set(recordings):
    nmnist = NMNIST(root=recordings("nmnist-small"))
    splits = {name: nmnist.split(name) for name in SPLITS}
    assert {name: len(split) for name, split in splits.items()} == {"train": 800, "validation": 200, "test": 100}
    assert (nmnist.input_shape, nmnist.steps, nmnist.classes) == ((2, 34, 34), 8, tuple("0123456789"))
    assert not set(splits["train"].indices) & set(splits["validation"].indices)
    quota = np.array([97, 116, 99, 93, 105, 92, 94, 117, 87, 100]) / 5
    assert (abs(np.bincount(splits["validation"].labels) - quota) < 1).all()
    frames, labels = splits["train"].__getitems__([0, 799])
    assert frames.shape == (2, 8, 2, 34, 34)
    assert labels.tolist() == splits["train"].labels[[0, 799]].tolist()
    everything = [split.__getitems__(range(len(split)))[0].sum() for split in splits.values()]
    assert int(sum(everything)) == 4_518_827


def test_frames_are_those_of_the_recording(recordings):
    small = recordings("nmnist-small")
    nmnist = NMNIST(root=small, steps=5, by="count", downscale=2)
    split = nmnist.split("validation")
    events = read_recording(small / f"{split.indices[3] + 1}.bs2").events
    assert (split[3][0].numpy() == to_frames(events, SIZE, Framing(5, "count", downscale=2))).all()
    assert split[3][0].shape == (5, 2, 17, 17)


def test_lists_in_both_spellings(listed):
    nmnist = NMNIST(root=listed, validation=0.25)
    assert [len(nmnist.split(name)) for name in SPLITS] == [15, 5, 5]
    assert nmnist.split("test").labels.tolist() == [1, 0, 1, 0, 1]
    for index in range(5):
        expected = to_frames(random_events(101 + index), SIZE, Framing(8))
        assert (nmnist.split("test")[index][0].numpy() == expected).all()


@pytest.mark.parametrize("inner", [".", "NMNIST"])
def test_folders_of_classes(foldered, inner):
    nmnist = NMNIST(root=foldered(inner))
    assert [len(nmnist.split(name)) for name in SPLITS] == [40, 10, 20]
    assert nmnist.split("validation").labels.tolist() == list(range(10))
    assert (nmnist.split("test")[7][0].numpy() == to_frames(random_events(351), SIZE, Framing(8))).all()


@pytest.mark.parametrize("part", ["train", "test"])
def test_folders_as_tonic_reads_them(foldered, tonics, part):
    root = foldered("NMNIST")
    nmnist, theirs = NMNIST(root=root), tonics("NMNIST", root, train=part == "train")
    splits = [nmnist.split(name) for name in (("test",) if part == "test" else ("train", "validation"))]
    labels = {index: label for split in splits for index, label in zip(split.indices, split.labels, strict=True)}
    assert len(theirs) == len(labels) == nmnist.sizes()[part]
    for index, (events, label) in enumerate(theirs.values()):
        assert labels[index] == label
        ours = nmnist.recording(part, index)
        assert all((ours[field] == events[field]).all() for field in "xytp")


def test_a_replaced_recording_is_seen(listed):
    before = NMNIST(root=listed).split("test")[0][0]
    write(listed / "101.bin", recording(999))
    os.utime(listed / "101.bin", ns=(1, 1))
    assert (NMNIST(root=listed).split("test")[0][0] != before).any()


def test_the_second_time_comes_from_the_cache(listed, monkeypatch):
    first = NMNIST(root=listed).split("train")
    monkeypatch.setattr("quietspike.datasets.sources.read_recording", None)
    second = NMNIST(root=listed).split("train")
    assert all((a[0] == b[0]).all() for a, b in zip(first, second, strict=True))


def test_another_folder_of_the_same_recordings_has_the_same_cache(listed, tmp_path, monkeypatch):
    NMNIST(root=listed).split("train")
    listed.rename(tmp_path / "moved")
    monkeypatch.setattr("quietspike.datasets.sources.read_recording", None)
    assert len(NMNIST(root=tmp_path / "moved").split("train")) == 16


def remove(root):
    (root / "7.bin").unlink()


def list_twice(root):
    write(root / "test5.txt", "101 1\n4 0\n")


def add_a_list(root):
    write(root / "train1.txt", "1 1\n")


def name_a_class(root):
    write(root / "test5.txt", "101 10\n")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (remove, r"train20\.txt: sample 7: neither 7\.bs2 nor 7\.bin is in "),
        (list_twice, r"4\.bin is listed both for train and for test$"),
        (add_a_list, r"holds several lists: train1\.txt, train20\.txt; keep one$"),
        (name_a_class, r"test5\.txt: line 1: class 10 is not one of 0 to 9$"),
    ],
)
def test_a_mistake_in_the_folder_is_one_line(listed, mistake, message):
    mistake(listed)
    with pytest.raises(DataError, match=message) as raised:
        NMNIST(root=listed)
    assert "\n" not in str(raised.value)


def test_a_damaged_recording_is_named(listed):
    with (listed / "7.bin").open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(DataError, match=r"7\.bin: ends inside an event: 2 of 5 bytes at offset 250"):
        NMNIST(root=listed).split("train")
