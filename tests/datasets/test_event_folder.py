import os

import numpy as np
import pytest
import torch

from quietspike.core import DataError, OptionError, UnknownNameError
from quietspike.core.networks import build_network
from quietspike.core.recipe import Recipe
from quietspike.core.testing import check_dataset
from quietspike.core.training import train
from quietspike.datasets import Framing, event_folder, make_events, read_recording, to_frames

from .conftest import random_events, tuples, write
from .formats.conftest import aedat2, atis_bin, npy, npz, structured, table, text

SIZE = (20, 16)


def wave(number):
    return random_events(number, 40, SIZE)


@pytest.fixture
def undivided(tmp_path):
    """Two classes of ten recordings each; labels by name, so ``left`` before ``right``."""
    root = tmp_path / "mine"
    for label, name in enumerate(("left", "right")):
        for number in range(10):
            write(root / name / f"{number}.npy", npy(table(tuples(wave(10 * label + number)))))
    return root


@pytest.fixture
def divided(tmp_path):
    """Parts of their own; a class that only the test part has is a class."""

    def put(*parts):
        root = tmp_path / "divided"
        for place, part in enumerate(parts):
            for label, name in enumerate(("left", "right", "still")[: 3 if part == "test" else 2]):
                for number in range(4):
                    recording = wave(100 * place + 10 * label + number)
                    write(root / part / name / f"{number}.npz", npz(**{"events": structured(tuples(recording))}))
        return root

    return put


def test_it_keeps_the_contract(undivided, divided):
    check_dataset(event_folder(root=undivided, sensor_size=SIZE))
    check_dataset(event_folder(root=divided("train", "validation", "test"), sensor_size=SIZE, augment={"noise": 0.1}))


def test_an_undivided_folder_is_divided(undivided):
    dataset = event_folder(root=str(undivided), sensor_size=list(SIZE), steps=4)
    assert dataset.classes == ("left", "right")
    assert (dataset.sensor_size, dataset.input_shape) == ((20, 16, 2), (2, 16, 20))
    assert dataset.sizes() == {"all": 20}
    found = set()
    for name, size in (("train", 13), ("validation", 3), ("test", 4)):
        split = dataset.split(name)
        assert len(split) == size
        for place, index in enumerate(split.indices):
            frames, label = split[place]
            assert label == index // 10
            assert np.array_equal(frames.numpy(), to_frames(wave(index), (*SIZE, 2), Framing(4)))
            found.add(int(index))
    assert found == set(range(20))


@pytest.mark.parametrize(
    ("parts", "sizes"), [(("train", "test"), (6, 2, 12)), (("train", "test", "validation"), (8, 8, 12))]
)
def test_parts_in_folders_are_the_splits(divided, parts, sizes):
    dataset = event_folder(root=divided(*parts), sensor_size=SIZE)
    assert dataset.classes == ("left", "right", "still")
    assert tuple(len(dataset.split(name)) for name in ("train", "validation", "test")) == sizes
    assert dataset.split("test").labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.array_equal(dataset.recording("test", 5), wave(111))


def test_a_part_that_is_missing_is_named(divided):
    root = divided("train", "validation")
    with pytest.raises(DataError, match=f"^{root} holds train and validation with folders of classes, but no such te"):
        event_folder(root=root, sensor_size=SIZE)
    (root / "validation").rename(root / "valid")
    divided("test")
    assert event_folder(root=root, sensor_size=SIZE).sizes() == {"train": 8, "test": 12, "validation": 8}
    divided("val")
    with pytest.raises(DataError, match=f"^{root} holds valid and val, which are names of one part; keep one$"):
        event_folder(root=root, sensor_size=SIZE)


def test_val_beside_train_alone_is_to_test_with(divided):
    assert event_folder(root=divided("train", "val"), sensor_size=SIZE).sizes() == {"train": 8, "test": 8}


def test_a_class_without_a_recording_is_named(undivided):
    write(undivided / "up" / "0.mp4", "a film")
    with pytest.raises(DataError, match=rf"^{undivided}/up: a class without a file that can be read; looked for \*\."):
        event_folder(root=undivided, sensor_size=SIZE)


def test_what_is_hidden_or_no_file_is_left_out(undivided):
    write(undivided / "left" / "._0.npy", "of another system")
    write(undivided / ".thumbnails" / "0.npy", "of a browser")
    os.mkfifo(undivided / "left" / "pipe.npy")
    (undivided / "left" / "folder.npy").mkdir()
    assert event_folder(root=undivided, sensor_size=SIZE).sizes() == {"all": 20}


@pytest.mark.parametrize(("first", "told", "size"), [("a", "346x260", "128x128"), ("z", "128x128", "346x260")])
def test_recordings_of_another_sensor_than_the_first_are_refused(tmp_path, first, told, size):
    """Of a smaller one too, where nobody said how large all are to be."""
    root = tmp_path / "mixed"
    for number in range(4):
        write(root / first / f"{number}.aedat", aedat2(tuples(wave(number))))
    large = write(root / "m" / "0.aedat", aedat2([(300, 200, 5, 1), (3, 2, 9, 1)], "DAVIS346B", (346, 260)))
    with pytest.raises(DataError, match=rf"\.aedat: of a sensor of {told}; the data set's is {size} \(sensor_size\)$"):
        read_all(event_folder(root=root))
    read_all(event_folder(root=root, sensor_size=(346, 260, 2)))
    with pytest.raises(DataError, match=rf"^{large}: of a sensor of 346x260; the data set's is 128x128 "):
        read_all(event_folder(root=root, sensor_size=(128, 128)))


def test_a_recording_that_is_all_off_the_sensor_is_named(undivided):
    write(undivided / "left" / "3.npy", npy(table([(40, 3, 5, 1)])))
    with pytest.raises(DataError, match=r"/3\.npy: without an event on the sensor; the data set's is 20x16 \("):
        read_all(event_folder(root=undivided, sensor_size=SIZE))


def test_two_folders_share_nothing_in_the_cache(tmp_path):
    """Files of equal names, sizes and times."""
    frames = []
    for name in ("one", "other"):
        for number in range(6):
            path = tmp_path / name / "a" / f"{number}.npy"
            write(path, npy(table(tuples(random_events(number + (name == "other") * 10, 40, SIZE)))))
            os.utime(path, ns=(0, 0))
        frames.append(event_folder(root=tmp_path / name, sensor_size=SIZE).split("train")[0][0])
    assert not torch.equal(*frames)


def read_all(dataset):
    return [dataset.split(name) for name in ("train", "validation", "test")]


@pytest.mark.parametrize(("order", "unit"), [("xytp", 1), ("pytx", 1000), ("txyp", 0.5)])
def test_columns_and_the_unit_of_time_are_as_told(tmp_path, order, unit):
    events = [(3, 4, 10, 1), (5, 6, 14, 0)]
    write(tmp_path / "a" / "0.txt", text(events, order))
    for number in range(1, 4):
        write(tmp_path / "a" / f"{number}.npy", npy(table(events, order)))
    dataset = event_folder(root=tmp_path, sensor_size=SIZE, columns=order, unit_us=unit, test=1, validation=1)
    for index in range(4):
        assert np.array_equal(
            dataset.recording("all", index), make_events([3, 5], [4, 6], [10 * unit, 14 * unit], [1, 0])
        )


def test_formats_mix_and_the_first_recording_tells_the_sensors_size(tmp_path):
    write(tmp_path / "a" / "0.aedat", aedat2(tuples(wave(0))))
    write(tmp_path / "a" / "1.bin", atis_bin(tuples(wave(1))))
    write(tmp_path / "b" / "0.BIN", atis_bin(tuples(wave(2))))
    write(tmp_path / ".git" / "0.bin", "of no use")
    dataset = event_folder(root=tmp_path, test=1, validation=1)
    assert dataset.sensor_size == (128, 128, 2)
    assert dataset.classes == ("a", "b")
    assert [dataset.recording("all", index).tolist() for index in range(3)] == [
        wave(index).tolist() for index in range(3)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor_size": [128]}, r"sensor_size=\[128\]: must be a list of 2 whole numbers of at least 1"),
        ({"sensor_size": "128x128"}, "sensor_size='128x128': must be a list of 2 whole numbers of at least 1"),
        ({"sensor_size": [128, 99_999]}, r"sensor_size=\[128, 99999\]: must be at most 32768"),
        ({"sensor_size": [30_000, 30_000]}, "steps=8: a sample of 8x2x30000x30000 takes more than 1 GiB; downscale"),
        ({"sensor_size": [0, 5]}, r"sensor_size=\[0, 5\]: must be a list of 2 whole numbers of at least 1"),
        ({"columns": "xyt"}, "columns='xyt': must hold each of x, y, t and p once, as 'txyp' does"),
        ({"unit_us": 0}, "unit_us=0: must be a positive number"),
        ({"steps": 0}, "steps=0: must be a whole number of at least 1"),
        ({"test": 50, "sensor_size": SIZE}, "test=50: must hold out some of 20 samples, and not all"),
    ],
)
def test_a_bad_option_is_named_with_its_value(undivided, options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        event_folder(root=undivided, **options).split("train")


def test_an_unknown_option_comes_with_the_near_match(undivided):
    with pytest.raises(UnknownNameError, match=r"^datasets: event_folder: option: no 'step'; did you mean 'steps'\?$"):
        event_folder(root=undivided, step=4)


def test_what_is_missing_is_named(undivided, tmp_path):
    with pytest.raises(
        DataError, match=r"^event_folder: give root, a folder with a folder of recordings for each class$"
    ):
        event_folder()
    with pytest.raises(DataError, match=f"^event_folder: no folder {tmp_path}/gone$"):
        event_folder(root=tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"^{tmp_path}/empty holds no folders of classes with ") as raised:
        event_folder(root=tmp_path / "empty")
    assert "*.npy" in str(raised.value)
    told = (
        rf"^event_folder: {undivided}/left/0\.npy does not tell its sensor's size; give sensor_size, as \[128, 128\]$"
    )
    with pytest.raises(DataError, match=told):
        event_folder(root=undivided)


def test_a_file_that_is_no_recording_is_named(undivided):
    write(undivided / "left" / "notes.txt", "by hand, on Monday")
    with pytest.raises(DataError, match=r"left/notes\.txt: no lines of four numbers") as raised:
        read_all(event_folder(root=undivided, sensor_size=SIZE))
    assert "\n" not in str(raised.value)


# real recordings


@pytest.fixture
def people(recordings, tmp_path):
    """Two classes of links to real recordings."""
    names = {"standing": ["dvs128_standing_up"], "walking": ["dvs128_walking_1", "dvs128_walking_2"]}
    for part, copies in {"train": 6, "test": 1}.items():
        for kind, files in names.items():
            for copy in range(copies):
                for name in files:
                    link = tmp_path / "people" / part / kind / f"{name}-{copy}.aedat"
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(recordings("samples") / f"{name}.aedat")
    return tmp_path / "people"


def test_real_recordings_are_read_where_links_lead(people):
    dataset = event_folder(root=people, steps=8)
    assert (dataset.classes, dataset.sensor_size) == (("standing", "walking"), (128, 128, 2))
    assert [len(dataset.recording("test", index)) for index in range(3)] == [155_766, 70_304, 19_182]
    split = dataset.split("test")
    for index in range(3):
        frames, _ = split[index]
        events = dataset.recording("test", index)
        t, edges = events["t"], np.linspace(events["t"].min(), events["t"].max() + 1, 9)
        cells = np.ravel_multi_index(
            (np.searchsorted(edges, t, "right") - 1, events["p"], events["y"], events["x"]), (8, 2, 128, 128)
        )
        expected = np.minimum(np.bincount(cells, minlength=8 * 2 * 128 * 128), 255).reshape(8, 2, 128, 128)
        assert np.array_equal(frames.numpy(), expected)
    assert np.array_equal(
        dataset.recording("test", 1), read_recording(people / "test/walking/dvs128_walking_1-0.aedat").events
    )


@pytest.mark.parametrize(
    "options", [{}, {"window_us": 50_000, "start": "random", "clips": 3, "augment": {"flip": 0.5, "shift": 8}}]
)
def test_a_network_learns_from_real_recordings(people, options):
    dataset = event_folder(root=people, steps=5, downscale=8, binary=True, validation=3, **options)
    network = build_network({"name": "conv3", "widths": [4, 4, 4], "hidden": [8]}, {"name": "lif"}, None, dataset, 0)
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    rows = list(train(network, dataset, Recipe(epochs=2, batch_size=4, learning_rate=0.01), seed=0))
    assert [row.epoch for row in rows] == [1, 2]
    assert all(np.isfinite([row.train_loss, row.loss]).all() and row.cost.spikes > 0 for row in rows)
    assert all(row.accuracy in (0, 1 / 3, 2 / 3, 1) for row in rows)
    assert all(not torch.equal(weight, before[name]) for name, weight in network.named_parameters() if "conv" in name)
