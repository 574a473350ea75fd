import errno
import json
import logging
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.datasets.cache import clear_entries
from quietspike.datasets.store import Store

KEY = {"name": "my set", "steps": 4}
PARTS = (3, 2, 4)


def content(sample):
    """Samples 0, 4 and 8 have no rows; so the last of three shards ends with one."""
    return np.random.default_rng(sample).integers(0, 99, (sample % 4, 2, 3), dtype=np.uint8)


class Builder:
    """Builds rows and remembers of which samples."""

    def __init__(self):
        self.asked = []

    def __call__(self, samples):
        self.asked.append(list(samples))
        for sample in samples:
            yield content(sample)


def refuse(samples):
    raise AssertionError("built although a whole entry is there")
    yield


def open_store(build=refuse, key=KEY, parts=PARTS):
    return Store(key, parts, np.uint8, (2, 3), build)


def same(store):
    return all(np.array_equal(store.rows(sample), content(sample)) for sample in range(len(store)))


def entry_of(cache):
    [entry] = [path for path in cache.iterdir() if path.is_dir()]
    return entry


def snapshot(folder):
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_it_is_built_once_in_shards_and_then_mapped_for_reading(cache):
    build = Builder()
    store = open_store(build)
    assert sorted(build.asked) == [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
    assert len(store) == 9
    assert same(store)
    again = open_store()
    assert same(again)
    assert not again.rows(3).flags.writeable
    assert again.rows(4).shape == (0, 2, 3)
    assert entry_of(cache).name.startswith("my-set-")


def test_shards_are_built_side_by_side(monkeypatch):
    """Each of two waits for the other, so one after the other they would never end."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    meeting = threading.Barrier(2, timeout=60)

    def build(samples):
        meeting.wait()
        yield from map(content, samples)

    assert same(open_store(build, parts=(4, 4)))


def test_another_key_is_another_entry():
    open_store(Builder())
    build = Builder()
    open_store(build, {**KEY, "steps": 5})
    assert len(build.asked) == 3
    assert same(open_store(key={"steps": 4, "name": "my set"}))  # the order of keys is no part of the key


@pytest.mark.parametrize("parts", [(), (1,), (9,), (5, 4)])
def test_any_number_of_shards(parts):
    store = open_store(Builder(), parts=parts)
    assert len(store) == sum(parts)
    assert same(store)


def test_rows_of_structured_values_and_of_any_order_in_memory():
    rows = np.zeros((2, 3), dtype=[("x", "i2"), ("t", "i8")])
    rows["t"] = [[1, 2, 3], [4, 5, 6]]
    for name, array in (("events", rows), ("turned", np.asfortranarray(np.arange(6.0).reshape(2, 3)))):
        store = Store({"name": name}, [1], array.dtype, (3,), lambda samples, array=array: (array for _ in samples))
        assert np.array_equal(store.rows(0), array)


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def extend(path):
    path.write_bytes(path.read_bytes() + b"\0")


def flip(position, bit=0):
    def flip_bit(path):
        data = bytearray(path.read_bytes())
        data[position] ^= 1 << bit
        path.write_bytes(data)

    return flip_bit


def rewrite(text):
    return lambda path: path.write_text(text)


DAMAGES = [truncate, flip(-1), flip(0), flip(9), flip(3, bit=7), os.remove, lambda path: os.truncate(path, 0)]
OTHER_FACTS = [
    "[" * 100_000,
    '{"crc32": ' + "9" * 5000 + "}",
    "[]",
    '{"crc32": 0, "ends": [0, 1]}',
    '{"crc32": 0, "ends": []}',
    '{"crc32": 0, "ends": [0, 3, Infinity]}',
    "\ud7ff",
]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("00001.rows", damage) for damage in [*DAMAGES, extend]),
        *(("00001.json", damage) for damage in [*DAMAGES, *map(rewrite, OTHER_FACTS)]),
    ],
)
def test_damage_is_found_at_first_touch_reported_and_mended_in_its_shard_alone(cache, caplog, name, damage):
    open_store(Builder())
    damage(entry_of(cache) / name)
    before = snapshot(entry_of(cache))
    build = Builder()
    with caplog.at_level(logging.WARNING):
        store = open_store(build)
        assert build.asked == ([[3, 4]] if not (entry_of(cache) / "00001.json").exists() or build.asked else [])
        assert same(store)
    assert build.asked == [[3, 4]]
    expected = [] if (damage, name) == (os.remove, "00001.json") else [True]  # a shard without facts is one to build
    assert ["00001" in record.getMessage() for record in caplog.records] == expected
    assert not any("\n" in record.getMessage() for record in caplog.records)
    after = snapshot(entry_of(cache))
    assert [path.name for path in after if after[path] != before.get(path)] == ["00001.json", "00001.rows"]
    assert same(open_store())


def test_no_flipped_bit_gives_other_rows(cache, caplog, monkeypatch):
    """Every bit of a shard's rows and facts, one after the other."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    open_store(Builder())
    for name in ("00000.rows", "00000.json"):
        path = entry_of(cache) / name
        for position in range(8 * path.stat().st_size):
            flip(position // 8, position % 8)(path)
            build = Builder()
            assert same(open_store(build))
            assert build.asked == [[0, 1, 2]], (name, position)


@pytest.mark.parametrize("damage", [truncate, flip(3), flip(5, bit=7), rewrite("{}"), rewrite("")])
def test_an_entry_of_another_key_is_not_believed(cache, caplog, damage):
    open_store(Builder())
    damage(entry_of(cache) / "key.json")
    build = Builder()
    with caplog.at_level(logging.WARNING):
        assert same(open_store(build))
    assert len(build.asked) == 3
    [message] = [record.getMessage() for record in caplog.records]
    assert str(entry_of(cache) / "key.json") in message
    assert "is damaged" in message
    assert "\n" not in message
    assert same(open_store())


def test_an_entry_moved_to_another_key_is_not_believed(cache):
    open_store(Builder())
    mine = entry_of(cache)
    other = {"name": "other"}
    Store(other, [3], np.uint8, (2, 3), Builder())
    [theirs] = [path for path in cache.glob("other-*") if path.is_dir()]
    for path in theirs.iterdir():
        path.unlink()
    theirs.rmdir()
    mine.rename(theirs)
    build = Builder()
    assert same(open_store(build, other))
    assert len(build.asked) == 3


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_what_lies_in_the_place_of_a_folder_is_removed(cache, tmp_path, kind):
    open_store(Builder())
    entry = entry_of(cache)
    entry.rename(tmp_path / "kept")
    if kind == "file":
        entry.write_text("in the way")
    else:
        entry.symlink_to(tmp_path / "gone")
    assert same(open_store(Builder()))
    assert same(open_store())
    assert not entry.is_symlink()


def test_an_entry_may_be_a_link_to_a_folder_elsewhere(cache, tmp_path):
    open_store(Builder())
    entry = entry_of(cache)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert same(open_store())


@pytest.mark.parametrize("method", ["stat", "read_text", "open"])
def test_an_entry_that_may_not_be_read_is_named_and_kept(cache, monkeypatch, method):
    """By a stand-in for the file system, since a superuser may read everything."""
    open_store(Builder())
    allowed = getattr(Path, method)

    def refuse_entry(path, *arguments, **options):
        if path.is_relative_to(cache):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return allowed(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse_entry)
        with pytest.raises(DataError, match=r"cannot read the cache .*: Permission denied; set QUIETSPIKE") as raised:
            open_store().rows(0)
    assert "\n" not in str(raised.value)
    assert same(open_store())


def test_a_folder_that_cannot_be_written_is_named_with_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QUIETSPIKE_CACHE", str(tmp_path / "file" / "x"))
    with pytest.raises(DataError, match=r"cannot write the cache .*/file/x: .*; set QUIETSPIKE_CACHE") as raised:
        open_store(Builder())
    assert "\n" not in str(raised.value)


def test_a_whole_cache_is_read_without_being_written_to(cache):
    open_store(Builder())
    [lock] = cache.glob("*.lock")
    lock.unlink()
    before = snapshot(cache)
    assert same(open_store())
    assert snapshot(cache) == before


@pytest.mark.parametrize("error", [DataError("8.bin: damaged"), FileNotFoundError(2, "No such file", "8.bin")])
def test_an_error_of_one_samples_reader_reaches_the_caller_and_leaves_no_half_shard(cache, error):
    def build(samples):
        for sample in samples:
            if sample == 6:
                raise error
            yield content(sample)

    with pytest.raises(type(error)) as raised:
        open_store(build)
    assert raised.value is error
    assert [path.name for path in entry_of(cache).iterdir() if path.name.startswith("00002")] == []
    assert list(cache.rglob("*.unfinished")) == []
    mended = Builder()
    assert same(open_store(mended))
    assert [5, 6, 7, 8] in mended.asked


def test_after_an_error_no_further_shard_is_begun(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    begun = []

    def build(samples):
        begun.append(samples[0])
        time.sleep(0.05)
        raise DataError("damaged")
        yield

    with pytest.raises(DataError):
        open_store(build, parts=[1] * 50)
    assert len(begun) < 25


def test_a_full_disk_is_one_line_and_leaves_no_half_shard(cache, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(
            DataError, match=r"^cannot write the cache .*: No space left on device; set QUIETSPIKE_CACHE"
        ):
            open_store(Builder())
    assert list(cache.rglob("0*")) == []
    assert same(open_store(Builder()))


def test_threads_that_find_one_damage_at_once_mend_it_once(cache, caplog):
    open_store(Builder())
    truncate(entry_of(cache) / "00002.rows")
    build = Builder()
    store = open_store(build)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(store.rows, [5, 6, 7, 8] * 10))
    assert all(np.array_equal(rows, content(sample)) for rows, sample in zip(found, [5, 6, 7, 8] * 10, strict=True))
    assert build.asked == [[5, 6, 7, 8]]
    assert len(caplog.records) == 1


def test_a_process_of_its_own_can_be_sent_one():
    build = Builder()
    store = open_store(build)
    store.rows(3)
    received = pickle.loads(pickle.dumps(store))
    assert same(received)
    assert len(pickle.dumps(store)) < 5000


def test_a_cleared_cache_stays_readable_where_it_is_open_and_is_built_again_elsewhere(cache, caplog):
    build = Builder()
    store = open_store(build)
    first = store.rows(1)
    assert len(clear_entries()) == 1
    assert list(cache.rglob("*.rows")) == []
    build.asked.clear()
    assert np.array_equal(first, content(1))
    assert np.array_equal(store.rows(2), content(2))
    assert build.asked == []
    assert same(store)
    assert sorted(build.asked) == [[3, 4], [5, 6, 7, 8]]
    build.asked.clear()
    assert same(open_store(build))
    assert build.asked == [[0, 1, 2]]


def test_facts_say_where_each_sample_ends(cache):
    open_store(Builder())
    facts, rows = (entry_of(cache) / f"00002.{suffix}" for suffix in ("json", "rows"))
    assert json.loads(facts.read_text())["ends"] == [0, 1, 3, 6, 6]
    assert rows.read_bytes() == b"".join(content(sample).tobytes() for sample in range(5, 9))
