import errno
import logging
import os
import signal
import textwrap
from pathlib import Path

import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.datasets.cache import cache_folder, cached

KEY = {"name": "my set", "steps": 4}


def build():
    random = np.random.default_rng(0)
    return {"frames": random.integers(0, 9, (50, 4, 2, 6, 6), dtype=np.uint8), "labels": np.arange(50)}


def refuse():
    raise AssertionError("built although a whole entry is there")


def same(found, expected=None):
    expected = expected or build()
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name]) for name in expected
    )


def entry_of(cache):
    [entry] = [path for path in cache.iterdir() if path.is_dir()]
    return entry


def test_built_once_then_memory_mapped(cache):
    assert same(cached(KEY, build))
    again = cached(KEY, refuse)
    assert same(again)
    assert all(isinstance(array, np.memmap) and not array.flags.writeable for array in again.values())
    assert entry_of(cache).name.startswith("my-set-")


def test_another_key_is_another_entry():
    cached(KEY, build)
    other = {"labels": np.zeros(3)}
    assert same(cached({**KEY, "steps": 5}, lambda: other), other)
    assert same(cached({"steps": 4, "name": "my set"}, refuse))  # the order of keys is no part of the key


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3)), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros(2, dtype=[("x", "i2"), ("t", "i8")])],
)
def test_arrays_of_every_kind_come_back(array):
    key = {"name": "kinds"}
    cached(key, lambda: {"array": array})
    assert same(cached(key, refuse), {"array": array})


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def extend(path):
    path.write_bytes(path.read_bytes() + b"\0")


def flip(position):
    def flip_byte(path):
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)

    return flip_byte


@pytest.mark.parametrize("name", ["frames.npy", "labels.npy", "manifest.json"])
@pytest.mark.parametrize(
    "damage", [truncate, flip(-1), flip(0), flip(9), flip(60), os.remove, lambda path: os.truncate(path, 0)]
)
def test_damage_is_found_reported_once_and_mended(cache, caplog, name, damage):
    cached(KEY, build)
    damage(entry_of(cache) / name)
    with caplog.at_level(logging.WARNING):
        assert same(cached(KEY, build))
    [message] = [record.getMessage() for record in caplog.records]
    assert "is damaged" in message
    assert str(entry_of(cache)) in message
    assert "\n" not in message
    assert same(cached(KEY, refuse))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"key": ' + "9" * 5000 + "}", "[]", '{"key": "other"}'])
def test_a_manifest_of_something_else_is_damage(cache, caplog, text):
    cached(KEY, build)
    (entry_of(cache) / "manifest.json").write_text(text)
    assert same(cached(KEY, build))
    [message] = [record.getMessage() for record in caplog.records]
    assert "is damaged" in message
    assert "\n" not in message
    assert same(cached(KEY, refuse))


@pytest.mark.parametrize("place", ["entry", "leftover"])
@pytest.mark.parametrize("kind", ["file", "link", "link to nothing"])
def test_what_lies_in_the_place_of_a_folder_is_removed(cache, tmp_path, place, kind):
    cached(KEY, build)
    entry = entry_of(cache)
    kept = tmp_path / "kept"
    entry.rename(kept)
    in_the_way = entry if place == "entry" else entry.with_name(f".{entry.name}.x")
    if kind == "file":
        in_the_way.write_text("in the way")
    else:
        (kept / "manifest.json").unlink()
        in_the_way.symlink_to(kept if kind == "link" else tmp_path / "gone")
    assert same(cached(KEY, build))
    assert same(cached(KEY, refuse))
    assert not entry.is_symlink()
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
    assert sorted(path.name for path in kept.glob("*.npy")) == ["frames.npy", "labels.npy"]


@pytest.mark.parametrize("method", ["stat", "read_text", "open"])
def test_an_entry_that_may_not_be_read_is_named_and_kept(cache, monkeypatch, method):
    """By a stand-in for the file system, since a superuser may read everything."""
    cached(KEY, build)
    allowed = getattr(Path, method)

    def refuse_entry(path, *arguments, **options):
        if path.is_relative_to(cache):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return allowed(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse_entry)
        with pytest.raises(
            DataError, match=r"cannot read the cache entry .*: Permission denied; set QUIETSPIKE"
        ) as raised:
            cached(KEY, refuse)
    assert "\n" not in str(raised.value)
    assert same(cached(KEY, refuse))


def test_bytes_that_were_added_are_found(cache):
    cached(KEY, build)
    extend(entry_of(cache) / "frames.npy")
    with pytest.raises(AssertionError, match="although"):
        cached(KEY, refuse)


def test_an_entry_moved_to_another_key_is_not_believed(cache):
    cached(KEY, build)
    mine = entry_of(cache)
    other = {"labels": np.ones(2)}
    cached({"name": "other"}, lambda: other)
    [theirs] = [path for path in cache.iterdir() if path.name.startswith("other-") and path.is_dir()]
    for path in theirs.iterdir():
        path.unlink()
    theirs.rmdir()
    mine.rename(theirs)
    assert same(cached({"name": "other"}, lambda: other), other)


def test_a_failing_builder_leaves_nothing(cache):
    def fail():
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        cached(KEY, fail)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    assert same(cached(KEY, build))


def test_an_error_of_the_builders_files_is_not_the_caches():
    with pytest.raises(FileNotFoundError):
        cached(KEY, lambda: {"x": np.load("/there/is/no/such.npy")})


def test_object_arrays_are_refused():
    with pytest.raises(ValueError, match="allow_pickle"):
        cached(KEY, lambda: {"objects": np.array([{}], dtype=object)})


def test_a_folder_that_cannot_be_written_is_named_with_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QUIETSPIKE_CACHE", str(tmp_path / "file" / "x"))
    with pytest.raises(DataError, match=r"cannot write the cache .*/file/x: .*; set QUIETSPIKE_CACHE") as raised:
        cached(KEY, build)
    assert "\n" not in str(raised.value)


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIETSPIKE_CACHE", "~/there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("QUIETSPIKE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "quietspike"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "quietspike"


CHILD = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from quietspike.datasets import cache

def build():
    random = np.random.default_rng(0)
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    {in_build}
    return {{"frames": random.integers(0, 9, (50, 4, 2, 6, 6), dtype=np.uint8), "labels": np.arange(50)}}

{before}
arrays = cache.cached({{"name": "my set", "steps": 4}}, build)
print(int(arrays["frames"].sum()), int(arrays["labels"].sum()))
"""
WAIT = """
Path(sys.argv[1] + str(os.getpid())).touch()
while len(list(Path(sys.argv[1]).parent.glob("log?*"))) < 2:
    time.sleep(0.005)
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    "while building": {"in_build": KILL, "before": ""},
    "between two arrays": {
        "in_build": "",
        "before": f"""
            save = np.save
            def save_first(path, array, **options):
                if "labels" in str(path):
                    {KILL}
                save(path, array, **options)
            np.save = save_first
            """,
    },
    "before the rename": {"in_build": "", "before": f"Path.rename = lambda *_: {KILL}"},
}


def test_of_two_processes_at_once_one_builds(cache, tmp_path, python):
    code = CHILD.format(in_build="time.sleep(0.5)", before=WAIT)
    children = [python(code, tmp_path / "log") for _ in range(2)]
    results = [child.communicate(timeout=120) for child in children]
    assert [errors for _, errors in results] == ["", ""]
    assert results[0] == results[1]
    assert (tmp_path / "log").read_text() == "built\n"
    assert same(cached(KEY, refuse))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(cache, tmp_path, python, caplog, moment):
    parts = {name: textwrap.dedent(code) for name, code in MOMENTS[moment].items()}
    child = python(CHILD.format(**parts), tmp_path / "log")
    _, errors = child.communicate(timeout=120)
    assert (child.returncode, errors) == (-signal.SIGKILL, "")
    with caplog.at_level(logging.WARNING):
        assert same(cached(KEY, build))
    assert not caplog.records
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []
    assert same(cached(KEY, refuse))


def test_a_whole_cache_is_read_without_being_written_to(cache, monkeypatch):
    cached(KEY, build)
    [lock] = cache.glob("*.lock")
    lock.unlink()
    before = sorted(cache.rglob("*"))
    assert same(cached(KEY, refuse))
    assert sorted(cache.rglob("*")) == before
