import io
import re

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.core.testing import check_dataset
from quietspike.datasets import DVS128GaitDay, DVS128GaitNight, Framing, to_frames

from .conftest import random_events, tuples, write
from .formats.conftest import npy, table, text

SHORT = {"steps": 4, "window_us": 20_000, "clips": 3}
SETS = pytest.mark.parametrize("gait", [DVS128GaitDay, DVS128GaitNight], ids=lambda gait: gait.name)


def walk(part, person, number):
    return random_events(1000 * (part == "test") + 10 * person + number, 40, (128, 128))


def of_objects(arrays):
    """An array of arrays, as numpy pickles it."""
    objects = np.empty(len(arrays), dtype=object)
    objects[:] = arrays
    return npy(objects, allow_pickle=True)


@pytest.fixture
def texts(tmp_path):
    """Persons 2, 10 and 1, with four recordings to train with and two to test with."""
    root = tmp_path / "texts"
    for part, number in {"train": 4, "test": 2}.items():
        for person in (2, 10, 1):
            for sample in range(number):
                write(root / part / str(person) / f"{sample}.txt", text(tuples(walk(part, person, sample))))
    return root


@pytest.fixture
def arrays(tmp_path):
    """The same in one array of objects, of a float table each."""

    def put(inner="."):
        root = tmp_path / "arrays"
        for part, number in {"train": 4, "test": 2}.items():
            samples = [(person, sample) for sample in range(number) for person in (2, 10, 1)]
            tables = [table(tuples(walk(part, *sample)), dtype=np.float64) for sample in samples]
            write(root / inner / part / f"{part}_data.npy", of_objects(tables))
            write(root / inner / part / f"{part}_target.npy", npy(np.array([person for person, _ in samples])))
        return root

    return put


@SETS
def test_both_layouts_keep_the_contract(texts, arrays, gait):
    check_dataset(gait(root=texts, **SHORT))
    check_dataset(gait(root=arrays(), **SHORT))


@SETS
def test_text_is_read_by_person_and_name(texts, gait):
    dataset = gait(root=texts, **SHORT)
    assert dataset.sizes() == {"train": 12, "test": 6}
    assert dataset.classes == tuple(map(str, range(11)))
    assert dataset.split("test").labels.tolist() == [1, 1, 2, 2, 10, 10]
    assert np.array_equal(dataset.recording("train", 5), walk("train", 2, 1))
    frames, label = dataset.split("test")[9]  # the first clip of person 2's second recording
    assert label == 2
    expected = to_frames(walk("test", 2, 1), (128, 128, 2), Framing(4, window_us=20_000, downscale=4), (0, 80_000))
    assert np.array_equal(frames.numpy(), expected)


@SETS
@pytest.mark.parametrize("inner", [".", "npy"])
def test_arrays_are_read_in_their_order(arrays, gait, inner):
    dataset = gait(root=arrays(inner), **SHORT)
    assert dataset.sizes() == {"train": 12, "test": 6}
    assert dataset.split("test").labels.tolist() == [2, 10, 1] * 2
    for index, (person, sample) in enumerate((person, sample) for sample in range(2) for person in (2, 10, 1)):
        assert np.array_equal(dataset.recording("test", index), walk("test", person, sample))


def test_by_default_it_is_as_in_the_papers(texts):
    dataset = DVS128GaitDay(root=texts)
    assert (dataset.steps, dataset.input_shape, dataset.options.window_us) == (60, (2, 32, 32), 15_000)
    assert (dataset.options.start, dataset.split("test").voting.clips) == ("random", 10)


def test_a_mistake_in_the_folders_is_one_line(texts):
    (texts / "train" / "10").rename(texts / "train" / "person10")
    with pytest.raises(DataError, match=r"person10: a person's folder is named by a number$"):
        DVS128GaitDay(root=texts)
    for path in (texts / "test").rglob("*.txt"):
        path.unlink()
    (texts / "train" / "person10").rename(texts / "train" / "10")
    message = (
        f"dvs128_gait_night: {texts} holds neither train/train_data.npy nor train/PERSON/*.txt and test/PERSON/*.txt"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        DVS128GaitNight(root=texts)


@pytest.mark.parametrize("line", ["1 2 3", "1 2 3 4 5", "a b c d", "0.5 1 1 1"])
def test_a_bad_line_of_text_is_named(texts, line):
    write(texts / "test" / "1" / "1.txt", line)
    with pytest.raises(DataError, match=r"test/1/1\.txt: ") as raised:
        DVS128GaitDay(root=texts).split("test")
    assert "\n" not in str(raised.value)


class Evil:
    def __reduce__(self):
        return print, ("evil",)


def evil():
    stream = io.BytesIO()
    np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_target.npy", None, r"test_target\.npy: cannot be read: No such file or directory$"),
        ("test_target.npy", npy(np.zeros((6, 2), int)), r"test_target\.npy: not a class a recording$"),
        ("test_target.npy", npy(np.zeros(6)), r"test_target\.npy: not a class a recording$"),
        ("test_target.npy", npy(np.array([0, 1, 2, -1])), r"test_target\.npy: classes from -1 to 2$"),
        ("test_target.npy", npy(np.array([0, 1, 2, 10**9])), r"test_target\.npy: classes from 0 to 1000000000$"),
        ("test_target.npy", npy(np.zeros(5, int)), r"test_data\.npy: holds 6 recordings, and 5 classes are given$"),
        ("test_data.npy", None, r"test_data\.npy: cannot be read: No such file or directory$"),
        ("test_data.npy", b"nothing", r"test_data\.npy: no header of a \.npy"),
        ("test_data.npy", of_objects([np.zeros((3, 5))] * 6), r"test_data\.npy: recording 0: shape \[3, 5\], not four"),
        ("test_data.npy", evil(), r"test_data\.npy: no array of arrays: builtins\.print is not allowed at offset \d+$"),
    ],
)
def test_a_mistake_in_the_arrays_is_one_line(arrays, capsys, name, content, message):
    root = arrays()
    (root / "test" / name).unlink()
    if content is not None:
        write(root / "test" / name, content)
    with pytest.raises(DataError, match=message) as raised:
        DVS128GaitDay(root=root).split("test")
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""
