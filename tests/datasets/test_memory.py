"""A set larger than the memory that may be used for it is built and read through batches."""

import shutil

import pytest

CHILD = """
import sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from quietspike.core.batches import Batches
from quietspike.datasets import FramedRecordings, Options, make_events

SAMPLES, EVENTS, drawn = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "drawn"
SIZE = (128, 128, 2)
most = 0

def anonymous():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

def look():
    global most
    most = max(most, anonymous())

@dataclass(frozen=True)
class Made:
    first: int
    number: int

    @property
    def labels(self):
        return tuple((self.first + place) % 2 for place in range(self.number))

    @property
    def identity(self):
        return repr(self)

    def read(self, wanted):
        for place in wanted:
            look()
            x = (self.first + place + np.arange(EVENTS)) % 128
            yield make_events(x, np.arange(EVENTS) % 128, np.arange(EVENTS), np.arange(EVENTS) % 2)

def stream(samples, name):
    parts = {"train": [Made(first, min(64, samples - first)) for first in range(0, samples, 64)], "test": [Made(-1, 1)]}
    options = Options(steps=4, validation=2, augment={"shift": 3} if drawn else {})
    split = FramedRecordings(name, parts, SIZE, ("even", "odd"), options).split("train")
    total = 0
    for epoch in range(2):
        for frames, labels in Batches(split, 8, seed=0).epoch(epoch):
            total += int(frames[:, :, :, 4:-4, 4:-4].sum())
            look()
    return len(split), total

stream(16, "warm")  # what is imported and compiled at first use
before = most = anonymous()
print(*stream(SAMPLES, "large"), most - before)
"""


@pytest.mark.parametrize(
    ("kind", "samples", "events", "size", "limit"),
    [
        ("stored", 2402, 500, 300, 100),  # 128 KiB of frames each
        ("drawn", 600, 40_000, 290, 100),  # 13 bytes an event
        pytest.param("stored", 41_000, 500, 5120, 500, marks=pytest.mark.slow),
        pytest.param("drawn", 10_400, 40_000, 5120, 500, marks=pytest.mark.slow),
    ],
)
def test_a_large_set_is_built_and_read_in_little_memory(cache, python, kind, samples, events, size, limit):
    """In MiB; maps of files, which the system takes back when it needs the room, do not count."""
    try:
        output, errors = python(CHILD, samples, events, kind).communicate(timeout=800)
        assert "Traceback" not in errors, errors
        assert sum(path.stat().st_size for path in cache.glob("large-*/*.rows")) >= size << 20
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    count, total, growth = map(float, output.split())
    assert count == samples - 2
    assert total > 0
    assert growth < limit
