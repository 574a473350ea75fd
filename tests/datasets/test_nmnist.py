import os
from contextlib import contextmanager

import numpy as np
import pytest
import tonic

from quietspike.core import DATASETS, DataError, OptionError, UnknownNameError
from quietspike.core.testing import check_dataset
from quietspike.datasets import NMNIST, read_bin, to_frames


@pytest.fixture
def small(recordings):
    return recordings("nmnist-small")


@pytest.fixture
def write_recording(write_bin):
    def write(path, seed):
        random = np.random.default_rng(seed)
        x, y, p = random.integers(0, 34, 50), random.integers(0, 34, 50), random.integers(0, 2, 50)
        write_bin(path, x, y, np.sort(random.integers(0, 300_000, 50)), p)

    return write


@pytest.fixture
def listed(tmp_path, write_recording):
    """Twenty training and five test recordings with lists, of two classes."""
    root = tmp_path / "listed"
    for name, samples in {"train20.txt": range(1, 21), "test5.txt": range(101, 106)}.items():
        for sample in samples:
            write_recording(root / f"{sample}.{'bin' if sample % 3 else 'bs2'}", sample)
        lines = [f"{sample}\t{sample % 2}" for sample in samples]
        (root / name).write_text("\n".join(["#sample #class", *lines]))
    return root


@pytest.fixture
def foldered(write_recording):
    """The layout of the published archives, a few recordings a class."""

    def write(root):
        for part, number in {"Train": 5, "Test": 2}.items():
            for label in range(10):
                for sample in range(number):
                    write_recording(root / part / str(label) / f"{sample:05}.bin", label * 100 + sample)
        return root

    return write


def test_it_is_registered():
    assert DATASETS.get("nmnist") is NMNIST


def test_it_keeps_the_contract(listed):
    check_dataset(NMNIST(root=listed))


def test_the_small_set(small):
    nmnist = NMNIST(root=small)
    splits = {name: nmnist.split(name) for name in ("train", "validation", "test")}
    assert {name: len(split) for name, split in splits.items()} == {"train": 800, "validation": 200, "test": 100}
    assert nmnist.input_shape == (2, 34, 34)
    assert not set(splits["train"].indices) & set(splits["validation"].indices)
    quota = np.array([97, 116, 99, 93, 105, 92, 94, 117, 87, 100]) / 5
    assert (abs(np.bincount(splits["validation"].labels) - quota) < 1).all()
    frames, labels = splits["train"].__getitems__([0, 799])
    assert frames.shape == (2, 8, 2, 34, 34)
    assert labels.tolist() == splits["train"].labels[[0, 799]].tolist()
    everything = [split.__getitems__(range(len(split)))[0].sum() for split in splits.values()]
    assert int(sum(everything)) == 4_518_827


def test_frames_are_those_of_the_recording(small):
    nmnist = NMNIST(root=small, steps=5, by="count", downscale=2)
    split = nmnist.split("validation")
    events = read_bin(small / f"{split.indices[3] + 1}.bs2")
    assert (split[3][0].numpy() == to_frames(events, (34, 34, 2), nmnist.framing)).all()
    assert split[3][0].shape == (5, 2, 17, 17)


def test_lists_in_both_spellings(listed):
    nmnist = NMNIST(root=listed, validation=0.25)
    assert [len(nmnist.split(name)) for name in ("train", "validation", "test")] == [15, 5, 5]
    assert nmnist.split("test").labels.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("inner", [".", "NMNIST"])
def test_folders_of_classes(tmp_path, foldered, inner):
    foldered(tmp_path / "root" / inner)
    nmnist = NMNIST(root=tmp_path / "root")
    assert [len(nmnist.split(name)) for name in ("train", "validation", "test")] == [40, 10, 20]
    assert nmnist.split("validation").labels.tolist() == list(range(10))
    events = read_bin(tmp_path / "root" / inner / "Test" / "3" / "00001.bin")
    assert (nmnist.split("test")[7][0].numpy() == to_frames(events, (34, 34, 2), nmnist.framing)).all()


def test_limits_take_some_of_the_same_split(listed):
    whole, some = NMNIST(root=listed), NMNIST(root=listed, max_train=6, max_validation=2, max_test=100)
    for name, number in {"train": 6, "validation": 2, "test": 5}.items():
        split = some.split(name)
        assert len(split) == number
        all_of_it = {frames.numpy().tobytes() for frames, _ in whole.split(name)}
        assert all(frames.numpy().tobytes() in all_of_it for frames, _ in split)
    assert np.bincount(some.split("train").labels).tolist() == [3, 3]


def test_the_seed_decides_what_is_held_out(listed):
    held = [NMNIST(root=listed, seed=seed).split("validation").indices.tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_a_replaced_recording_is_seen(listed, write_recording):
    before = NMNIST(root=listed).split("test")[0][0]
    write_recording(listed / "101.bin", 999)
    os.utime(listed / "101.bin", ns=(1, 1))
    assert (NMNIST(root=listed).split("test")[0][0] != before).any()


def test_the_second_time_comes_from_the_cache(listed, monkeypatch):
    first = NMNIST(root=listed).split("train")
    monkeypatch.setattr("quietspike.datasets.nmnist.read_bin", None)
    second = NMNIST(root=listed).split("train")
    assert all((a[0] == b[0]).all() for a, b in zip(first, second, strict=True))


def test_each_framing_has_a_cache_entry_of_its_own(listed):
    for options in ({}, {"steps": 4}, {"by": "count"}, {"window_us": 5000}, {"downscale": 3}, {"binary": True}):
        nmnist = NMNIST(root=listed, **options)
        expected = to_frames(read_bin(listed / "101.bin"), (34, 34, 2), nmnist.framing)
        assert np.array_equal(nmnist.split("test")[0][0].numpy(), expected)


def test_without_root_it_says_what_to_give():
    with pytest.raises(DataError, match="give root"):
        NMNIST().split("train")


def test_a_folder_of_something_else_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"holds neither a list train\*\.txt nor Train/0\.\.9/\*\.bin") as raised:
        NMNIST(root=tmp_path).split("train")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=f"no folder {tmp_path}/gone"):
        NMNIST(root=tmp_path / "gone").split("train")


def test_a_listed_recording_that_is_missing_is_named(listed):
    (listed / "7.bin").unlink()
    with pytest.raises(DataError, match=r"train20\.txt: sample 7: neither 7\.bs2 nor 7\.bin"):
        NMNIST(root=listed).split("train")


def test_a_damaged_recording_is_named(listed):
    with (listed / "7.bin").open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(DataError, match=r"7\.bin: ends inside an event: 2 of 5 bytes at offset 250"):
        NMNIST(root=listed).split("train")


def test_a_sample_to_train_and_test_with_is_refused(listed):
    (listed / "test5.txt").write_text("101 1\n4 0\n")
    with pytest.raises(DataError, match=r"4\.bin is listed both to train and to test with"):
        NMNIST(root=listed).split("validation")


def test_two_lists_are_refused(listed):
    (listed / "train1.txt").write_text("1 1\n")
    with pytest.raises(DataError, match=r"several lists: train1\.txt, train20\.txt"):
        NMNIST(root=listed).split("train")


def test_a_download_goes_through_tonic(tmp_path, monkeypatch, foldered):
    calls = []

    def fetch(save_to, train):
        calls.append((save_to, train))
        foldered(tmp_path / "root" / "NMNIST")

    monkeypatch.setattr(tonic.datasets, "NMNIST", fetch)
    nmnist = NMNIST(root=tmp_path / "root", download=True)
    assert not calls
    assert len(nmnist.split("test")) == 20
    assert calls == [(str(tmp_path / "root"), True), (str(tmp_path / "root"), False)]


@pytest.mark.parametrize("layout", ["lists", "folders", "downloaded"])
def test_what_is_there_is_not_downloaded(tmp_path, monkeypatch, listed, foldered, layout):
    monkeypatch.setattr(tonic.datasets, "NMNIST", None)
    root = listed if layout == "lists" else tmp_path / "root"
    if layout != "lists":
        foldered(root / "NMNIST" if layout == "downloaded" else root)
    before = sorted(root.rglob("*"))
    assert len(NMNIST(root=root, download=True).split("test")) == (5 if layout == "lists" else 20)
    assert sorted(root.rglob("*")) == before


def test_a_mistake_in_a_list_is_no_reason_to_download(listed, monkeypatch):
    monkeypatch.setattr(tonic.datasets, "NMNIST", None)
    (listed / "test5.txt").write_text("999 1\n")
    with pytest.raises(DataError, match=r"test5\.txt: sample 999: neither"):
        NMNIST(root=listed, download=True).split("train")


def test_a_download_that_was_cut_off_is_not_taken_for_whole(tmp_path, monkeypatch, foldered):
    root, tries = tmp_path / "root", []

    def fetch(save_to, train):
        tries.append(train)
        foldered(root / "NMNIST")
        if len(tries) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(tonic.datasets, "NMNIST", fetch)
    with pytest.raises(KeyboardInterrupt):
        NMNIST(root=root, download=True).split("test")
    with pytest.raises(DataError, match=r"nor NMNIST/Train/0\.\.9/\*\.bin; a download into NMNIST did not finish$"):
        NMNIST(root=root).split("test")
    assert len(NMNIST(root=root, download=True).split("test")) == 20
    assert tries == [True, True, False]
    assert len(NMNIST(root=root).split("test")) == 20


def test_of_two_downloads_at_once_the_second_finds_the_firsts(tmp_path, monkeypatch, foldered):
    root = tmp_path / "root"

    @contextmanager
    def wait(path):
        foldered(root / "NMNIST")  # the other process, which held the lock
        yield

    monkeypatch.setattr("quietspike.datasets.nmnist.locked", wait)
    monkeypatch.setattr(tonic.datasets, "NMNIST", None)
    assert len(NMNIST(root=root, download=True).split("test")) == 20


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(save_to, train):
        raise OSError("no route to host")

    monkeypatch.setattr(tonic.datasets, "NMNIST", fail)
    with pytest.raises(DataError, match=r"nmnist: cannot be downloaded into .*/root: no route to host"):
        NMNIST(root=tmp_path / "root", download=True).split("test")


def test_folders_are_read_without_tonic(foldered, tmp_path, python):
    foldered(tmp_path / "root")
    code = (
        "import sys; sys.modules['tonic'] = None\n"
        "from quietspike.datasets import NMNIST\n"
        "print(len(NMNIST(root=sys.argv[1], download=True).split('test')))\n"
        "try: NMNIST(root=sys.argv[1] + '/none', download=True).split('test')\n"
        "except ValueError as error: print('needs tonic' in str(error))"
    )
    assert python(code, tmp_path / "root").communicate(timeout=120) == ("20\nTrue\n", "")


def test_an_unknown_split_comes_with_the_near_match(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'validation'"):
        NMNIST(root=tmp_path).split("valid")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0}, "validation=0"),
        ({"validation": 1.5}, "validation=1.5"),
        ({"max_train": 0}, "max_train=0"),
        ({"seed": "0"}, "seed='0'"),
        ({"seed": None}, "seed=None"),
        ({"download": "False"}, "download='False'"),
        ({"by": "events"}, "by='events'"),
        ({"steps": 2.5}, "steps=2.5"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        NMNIST(**options)
