import os

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.datasets import FramedRecordings, Layout, Options
from quietspike.datasets.sources import FileSource, Item, fingerprint, items_of, labels_of, read_items, stamp

from .conftest import Given, random_events, tuples, write
from .formats.conftest import atis_bin


class Counted(Given):
    """Notes what is asked for at once."""

    asked = []  # noqa: RUF012 (emptied by each test)

    def read(self, wanted):
        self.asked.append((self.identity, list(wanted)))
        yield from super().read(wanted)


def counted(name, number=3, kind=Counted):
    seeds = range(10 * len(name), 10 * len(name) + number)
    return kind(tuple(seed % 2 for seed in seeds), tuple(random_events(seed, 5) for seed in seeds), name)


@pytest.fixture(autouse=True)
def asked():
    Counted.asked.clear()
    return Counted.asked


def test_recordings_come_in_the_order_asked_for_and_neighbours_of_a_source_at_once(asked):
    one, two = counted("a"), counted("bb")
    items = items_of([one, two])
    assert items == [Item(one, 0), Item(one, 1), Item(one, 2), Item(two, 0), Item(two, 1), Item(two, 2)]
    assert labels_of(items) == [0, 1, 0, 0, 1, 0]
    wanted = [items[index] for index in (2, 0, 4, 1)]
    found = list(read_items(wanted))
    assert asked == [("a", [2, 0]), ("bb", [1]), ("a", [1])]
    for (source, place), events in zip(wanted, found, strict=True):
        assert np.array_equal(events, source.recordings[place])


def test_a_source_of_many_recordings_is_read_once_however_many_shards_there_are(asked, cache):
    sources = [counted(name, 50) for name in ("a", "bb", "ccc")]
    dataset = FramedRecordings(
        "given", {"train": sources, "test": [counted("dddd", 1)]}, (34, 34, 2), ("a", "b"), Options()
    )
    assert len(dataset.split("train")) == 120
    assert [name for name, _ in sorted(asked)] == ["a", "bb", "ccc"]
    assert sum(len(places) for _, places in asked) == 120
    assert len(list(cache.rglob("*.rows"))) == 2  # a shard is full from 64 samples on, when its source ends


def test_files_come_in_shards_of_64(cache, tmp_path):
    data = atis_bin(tuples(random_events(0, 5)))
    sources = [FileSource(write(tmp_path / f"{number}.bin", data), f"{number}.bin", 0) for number in range(130)]
    dataset = FramedRecordings("given", {"train": sources[:1], "test": sources}, (34, 34, 2), ("a",), Options(steps=1))
    dataset.split("test")
    assert sorted(path.stat().st_size // (2 * 34 * 34) for path in cache.rglob("*.rows")) == [2, 64, 64]


def test_a_fingerprint_tells_sources_labels_and_choices_apart():
    one, two, relabelled = counted("a"), counted("bb"), Given((1, 1, 0), counted("a").recordings, "a")
    every = items_of([one, two])
    choices = [
        every,
        every[::-1],
        every[:3],
        every[:2],
        every[1:3],
        items_of([two, one]),
        items_of([relabelled, two]),
        [],
    ]
    assert len({fingerprint(items) for items in choices}) == len(choices)
    assert fingerprint(items_of([counted("a", kind=Given), two])) == fingerprint(every)


def test_a_files_identity_changes_with_it_and_not_with_its_folder(tmp_path):
    path = write(tmp_path / "a" / "it.bin", atis_bin(tuples(random_events(0, 5))))
    source = FileSource(path, "it.bin", 1)
    first = source.identity
    assert FileSource(path.rename(tmp_path / "it.bin"), "it.bin", 1).identity == first
    write(path, atis_bin(tuples(random_events(1, 5))))
    os.utime(path, ns=(1, 1))
    others = [
        source.identity,
        FileSource(path, "other.bin", 1).identity,
        FileSource(path, "it.bin", 1, Layout("xytp")).identity,
    ]
    assert len({first, *others}) == 4
    assert stamp(path).endswith(" 1")


def test_a_file_gives_its_recording_as_often_as_it_is_asked_for(tmp_path):
    events = random_events(0, 5)
    source = FileSource(write(tmp_path / "it.bin", atis_bin(tuples(events))), "it.bin", 1)
    assert source.labels == (1,)
    assert [np.array_equal(found, events) for found in source.read([0, 0])] == [True, True]


def test_a_file_that_is_not_there_is_named(tmp_path):
    source = FileSource(tmp_path / "gone.bin", "gone.bin", 0)
    with pytest.raises(DataError, match=r"gone\.bin: cannot be read: No such file or directory$"):
        next(source.read([0]))
    with pytest.raises(DataError, match=r"gone\.bin: cannot be read: No such file or directory$"):
        assert source.identity
