"""Lists and recordings that the test writes as HARDVS distributes them."""

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.core.testing import check_dataset
from quietspike.datasets import HARDVS, Framing, to_frames

from .conftest import random_events, tuples, write
from .formats.conftest import named, npz

SIZE = (346, 260, 2)
LISTS = {"train": range(0, 12), "val": range(12, 16), "test": range(16, 22)}


def action(number):
    return random_events(number, 80, SIZE[:2])


@pytest.fixture
def root(tmp_path):
    for part, numbers in LISTS.items():
        lines = []
        for number in numbers:
            name = f"action_{(1, 2, 300)[number % 3]:03}/dvSave-{number}"
            write(tmp_path / f"{name}.npz", npz(**named(tuples(action(number)))))
            lines.append(f"{name}{'.npz' if number == 3 else ''} {(0, 1, 299)[number % 3]}")
        write(tmp_path / f"{part}_label.txt", "\n".join([*lines, "", ""]))
    return tmp_path


def test_it_keeps_the_contract(root):
    check_dataset(HARDVS(root=root))


def test_the_lists_are_the_splits(root):
    dataset = HARDVS(root=root)
    assert len(dataset.classes) == 300
    assert (dataset.classes[0], dataset.classes[299]) == ("action_001", "action_300")
    assert dataset.sizes() == {"train": 12, "validation": 4, "test": 6}
    for name, numbers in zip(("train", "validation", "test"), LISTS.values(), strict=True):
        split = dataset.split(name)
        assert split.labels.tolist() == [(0, 1, 299)[number % 3] for number in numbers]
        for index, number in enumerate(numbers):
            assert np.array_equal(split[index][0].numpy(), to_frames(action(number), SIZE, Framing(8)))


def test_the_validation_part_is_its_own_whatever_share_is_asked_for(root):
    assert len(HARDVS(root=root, validation=0.5).split("train")) == 12
    assert len(HARDVS(root=root, max_validation=2).split("validation")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("action_001/gone 0", r"val_label\.txt: line 3: .*/action_001/gone\.npz is not there$"),
        ("action_301/dvSave-1 0", r"val_label\.txt: line 3: expected action_001/NAME first, not 'action_301/"),
        ("action_1/dvSave-1 0", r"val_label\.txt: line 3: expected action_001/NAME"),
        ("action_001 0", r"val_label\.txt: line 3: expected action_001/NAME first, not 'action_001 0'$"),
        ("action_001/ 0", r"val_label\.txt: line 3: expected action_001/NAME"),
        ("../up/a 0", r"val_label\.txt: line 3: expected action_001/NAME"),
        ("action_001/../action_002/dvSave-1 0", r"val_label\.txt: line 3: expected action_001/NAME"),
        ("action_001//etc/passwd 0", r"val_label\.txt: line 3: expected action_001/NAME"),
        ("/action_001/a 0", r"val_label\.txt: line 3: expected action_001/NAME"),
        ("x" * 5000, r"val_label\.txt: line 3: expected action_001/NAME first, not 'x{40}'$"),
    ],
)
def test_a_bad_line_is_named_with_its_number(root, line, message):
    write(root / "val_label.txt", f"action_001/dvSave-12 0\n\n{line}\n")
    with pytest.raises(DataError, match=message) as raised:
        HARDVS(root=root)
    assert "\n" not in str(raised.value)


def test_a_path_out_of_the_folder_is_refused_where_something_is_there(root, tmp_path_factory):
    outside = write(tmp_path_factory.mktemp("outside") / "it.npz", npz(**named(tuples(action(0)))))
    write(root / "val_label.txt", f"action_001/{outside} 0\n")
    with pytest.raises(DataError, match=r"val_label\.txt: line 1: expected action_001/NAME"):
        HARDVS(root=root)


def test_a_recording_in_two_lists_is_named(root):
    twice = (root / "train_label.txt").read_text().splitlines()[0]
    write(root / "val_label.txt", twice + "\n")
    with pytest.raises(DataError, match=r"\.npz is listed both for train and for validation$"):
        HARDVS(root=root)
    write(root / "val_label.txt", "\n")
    with pytest.raises(DataError, match=r"val_label\.txt: names no recording$"):
        HARDVS(root=root)


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_missing_list_is_named(root, name):
    (root / f"{name}_label.txt").unlink()
    with pytest.raises(DataError, match=rf"^har_dvs: no {name}_label\.txt in {root}$"):
        HARDVS(root=root)


def test_a_list_that_is_no_text_is_named(root):
    write(root / "test_label.txt", b"\xff\xfe")
    with pytest.raises(DataError, match=r"test_label\.txt: cannot be read: "):
        HARDVS(root=root)


def test_a_recording_that_is_none_is_named(root):
    write(root / "action_002" / "dvSave-13.npz", npz(x=np.arange(3), y=np.arange(3)))
    with pytest.raises(DataError, match=r"dvSave-13\.npz: no t or ts or time"):
        HARDVS(root=root).split("validation")
