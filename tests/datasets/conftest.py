"""Every test has a cache of its own; real recordings are read where they lie."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.lib.recfunctions  # tonic takes it for imported
import pytest
import tonic

from quietspike.datasets import DigitsDVS, make_events

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Given:
    """A source of recordings that a test has made."""

    labels: tuple
    recordings: tuple
    identity: str = "given"

    def read(self, wanted):
        for place in wanted:
            yield self.recordings[place]


def random_events(seed, number=50, size=(34, 34), duration=300_000, first=0):
    """In order of time, from the first microsecond to the last of the duration."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, duration, number))
    t[[0, -1]] = 0, duration - 1
    return make_events(random.integers(0, size[0], number), random.integers(0, size[1], number), first + t, t % 2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("QUIETSPIKE_CACHE", str(folder))
    return folder


@pytest.fixture
def recordings():
    """A folder of real recordings by name, or a skip that says what is missing."""
    root = Path(os.environ.get("QUIETSPIKE_TEST_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name):
        if not (root / name).exists():
            pytest.skip(f"no {name} in {root}; QUIETSPIKE_TEST_DATA names another folder of recordings")
        return root / name

    return find


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """The three default splits of digits_dvs, generated once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIETSPIKE_CACHE", str(tmp_path_factory.mktemp("digits")))
        return {name: DigitsDVS().split(name) for name in ("train", "validation", "test")}


@pytest.fixture
def python():
    """Start a Python process that sees what this one sees; its environment is this one's at the call."""

    def start(code, *arguments):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def mistakes(errors):
    """What a process said on standard error, but that it takes its time."""
    return [line for line in errors.splitlines() if "building the cache" not in line]


def write(path, data):
    """A file's bytes or text, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def tuples(events):
    """As the writers of formats take them."""
    return [event.tolist() for event in events]


@pytest.fixture
def tonics(monkeypatch):
    """What tonic's own class reads out of a folder that it takes for its download: events and targets, by file."""

    def read(kind, folder, **options):
        monkeypatch.setattr(getattr(tonic.datasets, kind), "_check_exists", lambda self: True)
        dataset = getattr(tonic.datasets, kind)(save_to=str(folder), **options)
        return {Path(path): dataset[index] for index, path in enumerate(dataset.data)}

    return read
