"""Events to frames: ours, tonic's ToFrame, and numpy.bincount on cells that are given to it ready.

    python benchmarks/binning.py

Three recordings of a DVS128 (316,638 events) into 16 frames of 128x128. For ours the clock runs from events as they are
read to frames; bincount gets each event's cell computed beforehand, so it is a floor, not a peer.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import tonic
from timing import best_seconds, recordings

from quietspike.datasets import Framing, read_recording, to_frames

STEPS, SENSOR = 16, (128, 128, 2)


def cells(events):
    """The index of each event's cell in [T, 2, H, W]."""
    first, end = int(events["t"][0]), int(events["t"][-1]) + 1
    starts = [first - (-k * (end - first) // STEPS) for k in range(1, STEPS)]
    step = np.searchsorted(starts, events["t"], side="right")
    return ((step * 2 + events["p"]) * 128 + events["y"]) * 128 + events["x"]


def main():
    """Check that all make the same frames, then print millions of events a second."""
    folder = recordings("samples")
    events = [read_recording(folder / f"dvs128_{number}.bs2").events for number in (1, 4, 8)]
    ready = [cells(one) for one in events]
    framing = Framing(STEPS)
    bincount = partial(np.bincount, minlength=STEPS * 2 * 128 * 128)
    theirs = tonic.transforms.ToFrame(sensor_size=SENSOR, n_time_bins=STEPS)
    for one, index in zip(events, ready, strict=True):
        ours = to_frames(one, SENSOR, framing)
        assert (ours == np.minimum(bincount(index), 255).reshape(ours.shape)).all()
        assert theirs(one).sum(dtype=int) > 0.999 * len(one)  # it loses what comes with the last window's end
    seconds = best_seconds(
        {
            "quietspike to_frames": lambda: [to_frames(one, SENSOR, framing) for one in events],
            "numpy.bincount, cells ready": lambda: [bincount(index) for index in ready],
            "numpy.bincount and its cells": lambda: [bincount(cells(one)) for one in events],
            "tonic ToFrame": lambda: [theirs(one) for one in events],
        },
        rounds=20,
    )
    number, ours = sum(map(len, events)), seconds["quietspike to_frames"]
    print(f"{'':30} million events/s   times ours")
    for name, taken in seconds.items():
        print(f"{name:30} {number / taken / 1e6:16.1f} {taken / ours:12.2f}")


if __name__ == "__main__":
    main()
