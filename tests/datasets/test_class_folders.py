"""Published sets of a folder for each class: CIFAR10-DVS, DailyAction-DVS and N-Caltech101, written by the test."""

import re
from typing import NamedTuple

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.core.testing import check_dataset
from quietspike.datasets import CIFAR10DVS, DailyActionDVS, Framing, NCaltech101, to_frames

from .conftest import random_events, tuples, write
from .formats.conftest import aedat2, aedat4, atis_bin


def aedat2_of_346(events):
    return aedat2(events, "DAVIS346B", (346, 260))


class Case(NamedTuple):
    """A set, some of its class folders, and how its recordings are written."""

    dataset: object
    classes: tuple
    suffix: str
    writer: object
    places: tuple  # under root
    framing: Framing  # of the set's own options
    sizes: tuple  # of thirty recordings


CASES = {
    "cifar10_dvs, as published": Case(
        CIFAR10DVS,
        ("airplane", "cat", "truck"),
        ".aedat",
        aedat2,
        (".", "CIFAR10DVS"),
        Framing(20, window_us=10_000),
        (24, 3, 3),
    ),
    "cifar10_dvs, as tonic gives it": Case(
        CIFAR10DVS,
        ("airplane", "cat", "truck"),
        ".aedat4",
        aedat4,
        (".", "CIFAR10DVS"),
        Framing(20, window_us=10_000),
        (24, 3, 3),
    ),
    "daily_action_dvs": Case(
        DailyActionDVS,
        ("climb", "get up", "pick"),
        ".aedat",
        aedat2_of_346,
        (".",),
        Framing(36, window_us=120_000, downscale=2),
        (19, 5, 6),
    ),
    "ncaltech101": Case(
        NCaltech101,
        ("accordion", "Faces_easy", "yin_yang"),
        ".bin",
        atis_bin,
        (".", "Caltech101", "NCALTECH101/Caltech101"),
        Framing(8),
        (19, 5, 6),
    ),
}
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def made(case, label, number):
    """In N-MNIST's format 240 would be no row."""
    width, height, _ = case.dataset.sensor_size or (346, 260, 2)
    return random_events(100 * label + number, 60, (width, min(height, 240)))


@pytest.fixture
def put(tmp_path):
    def put(case, inner="."):
        for label, name in enumerate(case.classes):
            for number in range(10):
                path = tmp_path / "root" / inner / name / f"it_{number}{case.suffix}"
                write(path, case.writer(tuples(made(case, label, number))))
        write(tmp_path / "root" / inner / "notes.txt", "of no use")
        write(tmp_path / "root" / inner / "pictures" / "one.png", "of no use")
        write(tmp_path / "root" / inner / ".trash" / f"it_0{case.suffix}", "of no use")
        return tmp_path / "root"

    return put


@each
def test_it_keeps_the_contract(put, case):
    check_dataset(case.dataset(root=put(case), steps=4, window_us=20_000, clips=2, downscale=4, augment={"flip": 0.5}))


@each
def test_recordings_classes_and_splits(put, case):
    for inner in case.places:
        dataset = case.dataset(root=put(case, inner))
        assert dataset.sizes() == {"all": 30}
        assert dataset.sensor_size == (case.dataset.sensor_size or (346, 260, 2))
        assert {*case.classes} <= {*dataset.classes}
        found = {}
        for name, size in zip(("train", "validation", "test"), case.sizes, strict=True):
            split = dataset.split(name)
            assert len(split.indices) == size
            found |= dict(zip(split.indices.tolist(), split.labels.tolist(), strict=True))
        assert [dataset.classes[found[index]] for index in range(30)] == [
            name for name in case.classes for _ in range(10)
        ]
        for index in (0, 13, 29):
            assert np.array_equal(dataset.recording("all", index), made(case, *divmod(index, 10)))


@each
def test_frames_by_the_sets_own_options(put, case):
    dataset = case.dataset(root=put(case))
    assert (dataset.steps, dataset.input_shape) == (case.framing.steps, case.framing.input_shape(dataset.sensor_size))
    split = dataset.split("test")
    for place, index in enumerate(split.indices):
        frames = split[place * split.voting.clips][0].numpy()
        assert np.array_equal(frames, to_frames(made(case, *divmod(int(index), 10)), dataset.sensor_size, case.framing))


def test_cifar10_dvs_is_as_tonic_reads_it(put, tonics):
    root = put(CASES["cifar10_dvs, as tonic gives it"], "CIFAR10DVS")
    trash = root / "CIFAR10DVS" / ".trash"
    (trash / "it_0.aedat4").unlink()
    dataset = CIFAR10DVS(root=root)
    theirs = tonics("CIFAR10DVS", root)
    assert len(theirs) == 30
    for index, path in enumerate(sorted(theirs)):
        events, label = theirs[path]
        ours = dataset.recording("all", index)
        assert all((ours[field] == events[field]).all() for field in "xytp")
        assert dataset.classes[label] == path.parent.name


def test_daily_action_dvs_is_of_the_sensor_that_its_recordings_tell(tmp_path):
    """Those who load it disagree on which; and copies, which are handed out too, are left out."""
    for name in ("climb", "stand"):
        for number in range(8):
            data = aedat2(tuples(random_events(number, 60, (128, 128))))
            write(tmp_path / name / f"{number}.aedat", data)
            write(tmp_path / name / f"{number}(1).aedat", data)
    write(tmp_path / "stand" / "9(1).aedat", aedat2(tuples(random_events(9, 60, (128, 128)))))
    dataset = DailyActionDVS(root=tmp_path)
    assert (dataset.sensor_size, dataset.sizes()) == ((128, 128, 2), {"all": 17})
    other = tmp_path / "stand" / "5.aedat"
    write(other, aedat2_of_346(tuples(random_events(5, 60, (128, 128)))))
    message = rf"^{other}: of a sensor of 346x260; the data set's is 128x128 \(sensor_size\)$"
    with pytest.raises(DataError, match=message):
        read_all(DailyActionDVS(root=tmp_path))


def test_ncaltech101_is_as_tonic_reads_it(put, tonics):
    """But for its first column and row, which tonic moves to 0."""
    root = put(CASES["ncaltech101"], "NCALTECH101/Caltech101")
    (root / "NCALTECH101" / "Caltech101" / ".trash" / "it_0.bin").unlink()
    dataset = NCaltech101(root=root)
    theirs = tonics("NCALTECH101", root)
    assert len(theirs) == 30
    ours = {
        case: index
        for index, case in enumerate((name, number) for name in CASES["ncaltech101"].classes for number in range(10))
    }
    for path, (events, label) in theirs.items():
        mine = dataset.recording("all", ours[label, int(path.stem.removeprefix("it_"))])
        assert all((mine[field] - mine[field].min() == events[field]).all() for field in "xy")
        assert all((mine[field] == events[field]).all() for field in "tp")


def test_a_real_recording_of_ncaltech101(recordings, tmp_path):
    for name in ("Faces_easy", "accordion"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.bin").symlink_to(recordings("samples") / "ncaltech101_faces_easy.bin")
    dataset = NCaltech101(root=tmp_path, steps=1, binary=True)
    frames, _ = dataset.split("test")[0]
    assert frames[0].any(0).nonzero().max(0).values.tolist() == [172, 150]


@pytest.mark.parametrize(
    ("dataset", "number", "some"),
    [
        (CIFAR10DVS, 10, ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")),
        (DailyActionDVS, 12, ("climb", "stand", "jump", "fall", "sit", "get up", "walk", "run", "lift", "lie", "bend")),
        (NCaltech101, 101, ("BACKGROUND_Google", "Faces_easy", "Leopards", "Motorbikes", "airplanes", "water_lilly")),
    ],
)
def test_the_classes_are_the_published_ones(dataset, number, some):
    assert len(dataset.classes) == number
    assert {*some} <= {*dataset.classes}


MISSPELT = {"cat": "cats", "get up": "get_up", "Faces_easy": "faces_easy"}


@each
def test_a_misspelt_class_comes_with_the_near_match(put, case):
    root, name = put(case), case.classes[1]
    (root / name).rename(root / MISSPELT[name])
    with pytest.raises(DataError) as raised:
        case.dataset(root=root)
    assert str(raised.value) == f"{root}: class: no {MISSPELT[name]!r}; did you mean {name!r}?"


@each
def test_a_folder_without_recordings_says_what_was_looked_for(put, case):
    root = put(case)
    for path in root.rglob(f"*{case.suffix}"):
        path.unlink()
    told = "a class without a file that can be read; looked for"
    place = re.escape(str(root / sorted(case.classes)[0]))
    with pytest.raises(DataError, match=rf"^{place}: {told} .*\*\{case.suffix}"):
        case.dataset(root=root)


@each
def test_a_damaged_recording_and_a_link_to_nothing_are_named(put, case):
    root = put(case)
    path = root / case.classes[2] / f"it_7{case.suffix}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: .* at offset \d+$"):
        read_all(case.dataset(root=root, start="first"))
    path.unlink()
    path.symlink_to(root / "gone")
    with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: cannot be read: No such file or directory$"):
        read_all(case.dataset(root=root))


def read_all(dataset):
    return [dataset.split(name) for name in ("train", "validation", "test")]
