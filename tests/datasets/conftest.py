"""Every test has a cache of its own; real recordings are read where they lie."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quietspike.datasets import DigitsDVS

REPOSITORY = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def write_bin():
    """Write a recording in N-MNIST's published format: 40 bits an event, x, y, polarity and 23 bits of time."""

    def write(path, x, y, t, p):
        x, y, t, p = (np.asarray(column, dtype=np.int64) for column in (x, y, t, p))
        columns = [x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.stack(columns, axis=1).astype(np.uint8).tofile(path)

    return write
