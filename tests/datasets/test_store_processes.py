"""Builders that are killed, or at work at the same time."""

import logging
import signal
import time

import numpy as np
import pytest

from quietspike.datasets.cache import entry_folder
from quietspike.datasets.locks import locked
from quietspike.datasets.store import Store

from .conftest import mistakes

KEY = {"name": "my set"}
PARTS = [4] * 12

CHILD = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from quietspike.datasets.store import Store

def build(samples):
    for sample in samples:
        with open(sys.argv[1], "a") as log:
            log.write(f"{{sample}}\\n")
        time.sleep(0.05)
        {in_build}
        yield np.random.default_rng(sample).integers(0, 99, (sample % 4, 2, 3), dtype=np.uint8)

{before}
store = Store({{"name": "my set"}}, [4] * 12, np.uint8, (2, 3), build)
print(sum(int(store.rows(sample).sum()) for sample in range(48)))
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def content(sample):
    return np.random.default_rng(sample).integers(0, 99, (sample % 4, 2, 3), dtype=np.uint8)


def build(samples):
    yield from map(content, samples)


def refuse(samples):
    raise AssertionError("built although a whole entry is there")
    yield


def open_store(build=build):
    return Store(KEY, PARTS, np.uint8, (2, 3), build)


def same(store):
    return all(np.array_equal(store.rows(sample), content(sample)) for sample in range(48))


def finished(entry):
    """The shards with facts, and what would change if one were built again."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for facts in entry.glob("0*.json")
        for path in (facts, facts.with_suffix(".rows"))
    }


def files(entry):
    return {path.name: path.read_bytes() for path in entry.iterdir()}


@pytest.fixture
def undisturbed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("QUIETSPIKE_CACHE", str(tmp_path / "undisturbed"))
        open_store()
        return files(entry_folder(KEY))


def run_until(child, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_what_a_twice_killed_builder_has_finished_is_not_built_again(undisturbed, tmp_path, python, caplog):
    entry, kept = entry_folder(KEY), {}
    for number in (2, 5):
        child = python(CHILD.format(in_build="", before=""), tmp_path / "log")
        run_until(child, lambda number=number: len(finished(entry)) >= 2 * number)
        child.kill()
        child.communicate(timeout=60)
        before = kept
        kept = finished(entry)
        assert 2 * number <= len(kept) < 2 * len(PARTS)
        assert before.items() <= kept.items()
    with caplog.at_level(logging.WARNING):
        assert same(open_store())
    assert not caplog.records
    assert kept.items() <= finished(entry).items()
    assert files(entry) == undisturbed


MOMENTS = {
    "among a shard's samples": f"if sample == 6: {KILL}",
    **{f"before the rename of {name}": name for name in ("key.json", "00001.rows", "00001.json")},
}
KILL_AT = """
rename = Path.rename
def rename_or_die(path, target):
    if path.name == "{name}.unfinished":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = rename_or_die
"""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_builder_leaves_nothing_that_is_taken_for_whole(undisturbed, tmp_path, python, caplog, moment):
    what = MOMENTS[moment]
    dying = {"in_build": what, "before": ""} if "if" in what else {"in_build": "", "before": KILL_AT.format(name=what)}
    child = python(CHILD.format(**dying), tmp_path / "log")
    _, errors = child.communicate(timeout=120)
    assert (child.returncode, mistakes(errors)) == (-signal.SIGKILL, [])
    assert not (entry_folder(KEY) / "00001.json").exists()
    with caplog.at_level(logging.WARNING):
        assert same(open_store())
    assert not caplog.records
    assert files(entry_folder(KEY)) == undisturbed
    assert same(open_store(refuse))


def test_of_two_processes_at_once_one_builds_and_the_other_waits(tmp_path, python):
    wait = """
Path(sys.argv[1] + str(os.getpid())).touch()
while len(list(Path(sys.argv[1]).parent.glob("log?*"))) < 2:
    time.sleep(0.005)
"""
    children = [python(CHILD.format(in_build="", before=wait), tmp_path / "log") for _ in range(2)]
    results = [child.communicate(timeout=120) for child in children]
    expected = sum(int(content(sample).sum()) for sample in range(48))
    assert [(output, mistakes(errors)) for output, errors in results] == [(f"{expected}\n", [])] * 2
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(48))


def test_an_interrupted_builder_ends_after_the_shards_it_is_at(undisturbed, tmp_path, python):
    entry = entry_folder(KEY)
    child = python(CHILD.format(in_build="", before=""), tmp_path / "log")
    run_until(child, lambda: len(finished(entry)) >= 2)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n")
    assert 1 <= len(finished(entry)) // 2 < len(PARTS)
    assert list(entry.glob("*.unfinished")) == []
    assert same(open_store())
    assert files(entry) == undisturbed


CLEAR = "from quietspike.datasets.cache import clear_entries; print('.', flush=True); print(len(clear_entries()))"


def test_another_process_clears_what_this_one_has_open(python, caplog):
    store = open_store()
    first = store.rows(1)
    assert python(CLEAR).communicate(timeout=60) == (".\n1\n", "")
    assert not entry_folder(KEY).exists()
    assert np.array_equal(first, content(1))
    with caplog.at_level(logging.WARNING):
        assert same(store)
    assert len(caplog.records) == len(PARTS) - 1
    assert same(open_store())


def test_what_is_being_built_is_not_cleared(python):
    open_store()
    entry = entry_folder(KEY)
    with locked(entry.with_name(entry.name + ".lock")):  # as its builder does
        child = python(CLEAR)
        assert child.stdout.readline() == ".\n"
        time.sleep(0.5)
        assert child.poll() is None
        assert entry.exists()
    assert child.communicate(timeout=60) == ("1\n", "")
    assert not entry.exists()
