"""Trials and tables that the test writes as IBM publishes them, and cut gestures as tonic distributes them."""

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.core.testing import check_dataset
from quietspike.core.voting import Voting
from quietspike.datasets import DVSGesture, make_events

from .conftest import tuples, write
from .formats.conftest import aedat3, npy, table

SHORT = {"steps": 2, "window_us": 500, "clips": 1, "downscale": 1}


def gesture(trial, number):
    """Two events, of 500 µs apart, in rows and columns of its own."""
    return [(number, 4 * trial, 1000 * number + 1000, 1), (number, 4 * trial + 1, 1000 * number + 1500, 0)]


def trial(number):
    """Eleven gestures of 900 µs; 100 µs between them in which events belong to none."""
    between = [(127, 127, 1000 * place + 900, 1) for place in range(12)]
    return sorted([*between, *(event for place in range(11) for event in gesture(number, place))], key=lambda e: e[2])


@pytest.fixture
def trials(tmp_path):
    """Two trials to train with, of which the second begins with the last class, and one to test with."""

    def put(inner="."):
        folder = tmp_path / "root" / inner
        for number, name in enumerate(("user01_led", "user02_lab", "user24_led")):
            write(folder / f"{name}.aedat", aedat3(trial(number)))
            rows = [(11 - place if number == 1 else place + 1, 1000 * place + 1000) for place in range(11)]
            lines = [f"{label},{start},{start + 900}" for label, start in rows]
            write(folder / f"{name}_labels.csv", "\n".join(["class,startTime_usec,endTime_usec", *lines, ""]))
        write(folder / "trials_to_train.txt", "user01_led.aedat\nuser02_lab.aedat\n\n")
        write(folder / "trials_to_test.txt", "user24_led.aedat\r\n")
        return tmp_path / "root"

    return put


@pytest.fixture
def cut(tmp_path):
    """Gestures as arrays [N, 4] of x, y, polarity and milliseconds."""

    def put(inner="."):
        for part, users in {"Train": (1, 2), "Test": (24,)}.items():
            for user in users:
                for label in range(11):
                    events = [(label, user, label + 7, 1), (user, label, label + 9, 0)]
                    path = tmp_path / "root" / inner / f"ibmGesture{part}" / f"user{user:02}_led" / f"{label}.npy"
                    write(path, npy(table(events, "xypt")))
        return tmp_path / "root"

    return put


def test_both_layouts_keep_the_contract(trials, cut):
    check_dataset(DVSGesture(root=trials("DvsGesture"), **SHORT))
    check_dataset(DVSGesture(root=cut(), **SHORT, start="first"))


@pytest.mark.parametrize("inner", [".", "DvsGesture"])
def test_gestures_are_cut_out_of_trials_by_their_tables(trials, inner):
    dataset = DVSGesture(root=trials(inner), **SHORT, start="first", validation=2)
    assert dataset.sizes() == {"train": 22, "test": 11}
    assert [len(dataset.split(name)) for name in ("train", "validation", "test")] == [20, 2, 11]
    assert dataset.classes[:2] == ("hand clapping", "right hand wave")
    for number, index in ((0, 0), (0, 10), (1, 11), (1, 21)):
        assert tuples(dataset.recording("train", index)) == gesture(number, index - 11 * number)
    labels = {
        index: label
        for name in ("train", "validation")
        for index, label in zip(dataset.split(name).indices, dataset.split(name).labels, strict=True)
    }
    assert [labels[index] for index in range(22)] == [*range(11), *reversed(range(11))]
    assert dataset.split("test").labels.tolist() == list(range(11))


def test_frames_by_hand(trials):
    """Sixty windows of 15 ms, of which such short gestures fill the first; pixels of four by four."""
    dataset = DVSGesture(root=trials())
    assert (dataset.steps, dataset.input_shape) == (60, (2, 32, 32))
    split = dataset.split("test")
    assert split.voting == Voting(10, "majority")
    assert len(split) == 110
    frames, label = split[57]  # a clip of gesture 5
    expected = np.zeros((60, 2, 32, 32))
    expected[0, 1, 2, 1] = expected[0, 0, 2, 1] = 1  # x = 5, y = 8 and 9
    assert label == 5
    assert np.array_equal(frames.numpy(), expected)


@pytest.mark.parametrize("inner", [".", "DVSGesture"])
def test_cut_gestures_are_in_milliseconds(cut, inner):
    dataset = DVSGesture(root=cut(inner), **SHORT)
    assert dataset.sizes() == {"train": 22, "test": 11}
    by_class = {label: dataset.recording("test", index) for index, label in enumerate(dataset.split("test").labels)}
    for label, events in by_class.items():
        assert np.array_equal(
            events, make_events([label, 24], [24, label], [1000 * label + 7000, 1000 * label + 9000], [1, 0])
        )


def test_cut_gestures_are_those_that_tonic_reads(cut, tonics):
    root = cut("DVSGesture")
    for part in ("train", "test"):
        dataset = DVSGesture(root=root, **SHORT)
        theirs = tonics("DVSGesture", root, train=part == "train")
        ours = {tuple(tuples(dataset.recording(part, index))) for index in range(dataset.sizes()[part])}
        assert len(ours) == len(theirs)
        for events, target in theirs.values():
            columns = (events[field].tolist() for field in "xytp")
            assert tuple((x, y, t, int(p)) for x, y, t, p in zip(*columns, strict=True)) in ours
            assert 0 <= target <= 10


HEADER = "class,startTime_usec,endTime_usec\n"
CSV = "user02_lab_labels.csv"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CSV, HEADER + "12,1,2\n", rf"{CSV}: cannot be read as a table of gestures: line 2: class 12 from 1 to 2 µs"),
        (CSV, HEADER + "1,1,2\n0,1,2\n", rf"{CSV}: .*: line 3: class 0 from 1 to 2 µs"),
        (CSV, HEADER + "1,2,2\n", rf"{CSV}: .*: line 2: class 1 from 2 to 2 µs"),
        (CSV, HEADER + "1,2\n", rf"{CSV}: cannot be read as a table of gestures: "),
        (CSV, HEADER + "one,1,2\n", rf"{CSV}: .*invalid literal for int\(\) with base 10: 'one'"),
        (CSV, "label,start,end\n1,1,2\n", rf"{CSV}: .*'class'"),
        (CSV, b"\xff\xfe" + HEADER.encode(), rf"{CSV}: cannot be read as a table of gestures: "),
        (CSV, None, rf"{CSV}: cannot be read: No such file or directory$"),
        (CSV, HEADER, rf"{CSV}: names no gesture$"),
        ("trials_to_test.txt", "\n", r"trials_to_test\.txt: names no recording$"),
        ("trials_to_test.txt", "user02_lab.aedat\n", r"user02_lab\.aedat is listed both for train and for test$"),
        ("user02_lab.aedat", None, rf"{CSV}: its recording user02_lab\.aedat is not there"),
        ("trials_to_test.txt", None, r"trials_to_test\.txt: cannot be read: .*No such file"),
        ("trials_to_test.txt", b"\xff", r"trials_to_test\.txt: cannot be read: "),
        ("trials_to_test.txt", "user99.aedat\n", r"user99_labels\.csv: cannot be read: No such file or directory$"),
        ("trials_to_test.txt", "../up.aedat\n", r"trials_to_test\.txt: '\.\./up\.aedat' is not the name of a file"),
        ("trials_to_test.txt", "/etc/a.aedat\n", r"trials_to_test\.txt: '/etc/a\.aedat' is not the name of a file"),
    ],
)
def test_a_mistake_in_a_table_is_one_line(trials, name, content, message):
    root = trials()
    (root / name).unlink()
    if content is not None:
        write(root / name, content)
    with pytest.raises(DataError, match=message) as raised:
        DVSGesture(root=root)
    assert "\n" not in str(raised.value)


def test_a_gesture_without_events_is_named(trials):
    root = trials()
    write(root / CSV, HEADER + "1,50000,60000\n" + "2,1000,1900\n" * 4)
    with pytest.raises(DataError, match=r"user02_lab\.aedat: no event from 50000 to 60000 µs$"):
        DVSGesture(root=root).split("train")


def test_a_damaged_trial_is_named(trials):
    root = trials()
    with (root / "user24_led.aedat").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError, match=r"user24_led\.aedat: .* at offset \d+$"):
        DVSGesture(root=root).split("test")


def test_a_changed_table_is_seen(trials):
    root = trials()
    before = DVSGesture(root=root, **SHORT).split("test")[0][0]
    lines = (root / "user24_led_labels.csv").read_text().splitlines()
    write(root / "user24_led_labels.csv", "\n".join([lines[0], "1,1000,1400", *lines[2:]]))
    after = DVSGesture(root=root, **SHORT).split("test")[0][0]
    assert (before.sum(), after.sum()) == (2, 1)


def test_a_cut_gesture_of_no_class_is_named(cut):
    root = cut()
    (root / "ibmGestureTest" / "user24_led" / "3.npy").rename(root / "ibmGestureTest" / "user24_led" / "11.npy")
    with pytest.raises(DataError, match=r"11\.npy: class 11 is not one of 0 to 10$"):
        DVSGesture(root=root)


def test_half_of_a_layout_is_none(cut):
    root = cut()
    (root / "ibmGestureTest").rename(root / "ibmGesturesTest")
    with pytest.raises(DataError, match=r"holds neither trials_to_train\.txt nor ibmGestureTrain and ibmGestureTest$"):
        DVSGesture(root=root)
