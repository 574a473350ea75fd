import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.datasets.lists import read_list


def test_the_small_nmnists_lists_hold_what_its_description_says(recordings):
    folder = recordings("nmnist-small")
    train = read_list(folder / "train1K.txt", classes=10)
    assert np.bincount([entry.label for entry in train]).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert (train[0].sample, train[-1].sample) == (1, 1000)
    test = read_list(folder / "test100.txt", classes=10)
    assert [entry.sample for entry in test] == list(range(60_001, 60_101))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7", "expected a sample and a class, not '7'"),
        ("7 1 2", "expected a sample and a class"),
        ("seven 1", "expected a sample and a class"),
        ("7 -1", "expected a sample and a class"),
        ("7 ²", "expected a sample and a class"),
        ("../7 1", "expected a sample and a class"),
        (f"{'7' * 5000} 1", "expected a sample and a class, not '7{40}'$"),
        (f"7 {'1' * 5000}", "expected a sample and a class"),
        ("7 10", "class 10 is not one of 0 to 9"),
        ("1 3", "sample 1 is named a second time"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, reason):
    path = tmp_path / "train.txt"
    path.write_text(f"#sample #class\r\n1\t5\r\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"train\.txt: line 4: {reason}") as raised:
        read_list(path, classes=10)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"#sample #class\n", b"\xff\xfe\x00"])
def test_a_list_of_nothing_is_refused(tmp_path, content):
    path = tmp_path / "train.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.txt: "):
        read_list(path, classes=10)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"train\.txt: cannot be read as a list of samples: .*No such file"):
        read_list(tmp_path / "train.txt", classes=10)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_list(tmp_path, mark):
    path = tmp_path / "train.txt"
    path.write_bytes(mark + b"7 1\n8 2\n")
    assert read_list(path, classes=10) == [(7, 1), (8, 2)]
