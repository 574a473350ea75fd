import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tonic.datasets import NMNIST as TONIC_NMNIST
from tonic.io import read_mnist_file

from quietspike.core import DataError
from quietspike.datasets import read_bin, read_list

ANY_EVENTS = st.lists(st.tuples(*[st.integers(0, 255)] * 5), min_size=1, max_size=40)
SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@SHARED_FOLDER
@given(ANY_EVENTS.filter(lambda content: any(y != 240 for _, y, *_ in content)))
def test_any_bytes_read_as_tonic_reads_them(tmp_path, content):
    path = tmp_path / "any.bin"
    path.write_bytes(bytes(value for event in content for value in event))
    events, theirs = read_bin(path), read_mnist_file(path, dtype=TONIC_NMNIST.dtype)
    for name in ("x", "y", "t", "p"):
        assert events[name].tolist() == theirs[name].tolist()


def test_the_published_format_reads_back(tmp_path, write_bin):
    path = tmp_path / "one.bin"
    write_bin(path, x=[0, 33, 7], y=[33, 0, 8], t=[0, 70_000, (1 << 23) - 1], p=[1, 0, 1])
    assert [event.tolist() for event in read_bin(path)] == [(0, 33, 0, 1), (33, 0, 70_000, 0), (7, 8, (1 << 23) - 1, 1)]


def test_the_small_nmnist_holds_what_its_description_says(recordings):
    folder = recordings("nmnist-small")
    sizes, highest = [], 0
    for path in folder.glob("*.bs2"):
        events = read_bin(path)
        sizes.append(len(events))
        highest = max(highest, int(events["x"].max()), int(events["y"].max()))
        assert (np.diff(events["t"]) >= 0).all()
    assert (len(sizes), sum(sizes), min(sizes), max(sizes), highest) == (1100, 4_518_827, 1_069, 7_152, 33)
    train = read_list(folder / "train1K.txt", classes=10)
    assert np.bincount([entry.label for entry in train]).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert (train[0].sample, train[-1].sample) == (1, 1000)
    test = read_list(folder / "test100.txt", classes=10)
    assert [entry.sample for entry in test] == list(range(60_001, 60_101))


@pytest.mark.parametrize(
    ("name", "events"),
    [
        ("dvs128_1.bs2", 63_471),
        ("dvs128_4.bs2", 151_879),
        ("dvs128_8.bs2", 101_288),
        ("ncaltech101_faces_easy.bin", 67_445),
    ],
)
def test_larger_sensors_read_too(recordings, name, events):
    path = recordings("samples") / name
    ours, theirs = read_bin(path), read_mnist_file(path, dtype=TONIC_NMNIST.dtype)
    assert len(ours) == events
    assert all((ours[field] == theirs[field]).all() for field in ("x", "y", "t", "p"))


def test_a_truncated_recording_names_file_and_offset(tmp_path):
    path = tmp_path / "cut.bs2"
    path.write_bytes(bytes(13))
    with pytest.raises(DataError, match=r"cut\.bs2: ends inside an event: 3 of 5 bytes at offset 10$"):
        read_bin(path)


def test_an_empty_recording_is_refused(tmp_path):
    path = tmp_path / "none.bs2"
    path.touch()
    with pytest.raises(DataError, match=r"none\.bs2: empty: no event at offset 0$"):
        read_bin(path)


def test_clock_overflows_alone_are_no_recording(tmp_path, write_bin):
    path = tmp_path / "none.bs2"
    write_bin(path, x=[0, 0], y=[240, 240], t=[0, 0], p=[0, 0])
    with pytest.raises(DataError, match=r"none\.bs2: empty: no event at offset 0 or later, 2 clock overflows$"):
        read_bin(path)


def test_a_missing_recording_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"gone\.bin: cannot be read: No such file") as raised:
        read_bin(tmp_path / "gone.bin")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7", "expected a sample and a class, not '7'"),
        ("7 1 2", "expected a sample and a class"),
        ("seven 1", "expected a sample and a class"),
        ("7 -1", "expected a sample and a class"),
        ("7 ²", "expected a sample and a class"),
        (f"{'7' * 5000} 1", "expected a sample and a class, not '7{40}'$"),
        (f"7 {'1' * 5000}", "expected a sample and a class"),
        ("7 10", "class 10 is not one of 0 to 9"),
        ("1 3", "sample 1 is named a second time"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, reason):
    path = tmp_path / "train.txt"
    path.write_text(f"#sample #class\r\n1\t5\r\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"train\.txt: line 4: {reason}"):
        read_list(path, classes=10)


@pytest.mark.parametrize("content", [b"", b"#sample #class\n", b"\xff\xfe\x00"])
def test_a_list_of_nothing_is_refused(tmp_path, content):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.txt: "):
        read_list(path, classes=10)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_list(tmp_path, mark):
    path = tmp_path / "train.txt"
    path.write_bytes(mark + b"7 1\n8 2\n")
    assert read_list(path, classes=10) == [(7, 1), (8, 2)]
