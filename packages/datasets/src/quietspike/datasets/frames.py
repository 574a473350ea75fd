"""Events to frames: which step an event belongs to, and the count of events at each pixel of a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from quietspike.core.checks import check_flag, check_whole
from quietspike.core.errors import OptionError
from quietspike.datasets.events import Events, inside, sort_by_time

Frames: TypeAlias = npt.NDArray[np.uint8]
SensorSize: TypeAlias = tuple[int, int, int]
"""Width, height and polarities, in tonic's order."""

_FULL = 255
_EARLIEST, _LATEST = (int(limit) for limit in (np.iinfo(np.int64).min, np.iinfo(np.int64).max))


@dataclass(frozen=True)
class Framing:
    """How a recording becomes [T, 2, H, W]; channel 0 holds OFF events, channel 1 ON events.

    Args:
        steps: T, the frames of a sample.
        by: ``time`` makes windows of equal time, ``count`` groups of equally many events: N // T each, and the last
            takes the rest (SpikingJelly's rule), so with fewer events than steps the last frame holds them all.
        window_us: length of a window, by time only; later events are dropped. Left out: the recording is divided
            into T equal windows.
        downscale: coordinates are divided by it and rounded down; a sensor's last, incomplete cell is kept.
        binary: mark a pixel with 1 however many events it has; else count them, up to 255.

    Raises:
        OptionError: if a value is out of its range; names the option and the value.
    """

    steps: int
    by: Literal["time", "count"] = "time"
    window_us: int | None = None
    downscale: int = 1
    binary: bool = False

    def __post_init__(self) -> None:
        check_whole(steps=self.steps, downscale=self.downscale)
        if self.window_us is not None:
            check_whole(window_us=self.window_us)
        check_flag(binary=self.binary)
        if self.by not in ("time", "count"):
            raise OptionError(f"by={self.by!r}: must be 'time' or 'count'")
        if self.by == "count" and self.window_us is not None:
            raise OptionError(f"window_us={self.window_us}: goes with by='time', not with by='count'")

    def input_shape(self, sensor_size: SensorSize) -> tuple[int, int, int]:
        """C, H, W of a frame."""
        width, height, _ = sensor_size
        return 2, -(-height // self.downscale), -(-width // self.downscale)


def to_frames(events: Events, sensor_size: SensorSize, framing: Framing, span: tuple[int, int] | None = None) -> Frames:
    """The frames of a recording.

    Events outside of the sensor are dropped first and take no part in what follows. Windows are half open; the last of
    equal windows ends just after the last event. A recording without events gives zeros.

    Args:
        events: the recording; by time in any order, by count they are put in order of time.
        sensor_size: width, height, polarities.
        framing: how.
        span: the recording's start and end in µs, where they are known, for framing by time; events before the start,
            at the end or later are dropped. Left out: from the first event to the last.

    Shape:
        [N] events → [T, 2, H, W], uint8.

    Raises:
        OptionError: if a span is given for framing by count, or is not a start and a later end within 64 bits.
    """
    if span is not None:
        span = _checked(span, framing)
    frames: Frames = np.zeros((framing.steps, *framing.input_shape(sensor_size)), dtype=np.uint8)
    width, height, _ = sensor_size
    events = inside(events, width, height)
    if not len(events):
        return frames
    if framing.by == "count":
        events = sort_by_time(events)
        steps = _steps_by_count(len(events), framing.steps)
    else:
        first, end = span or (int(events["t"].min()), int(events["t"].max()) + 1)
        steps = _steps_by_time(events["t"], first, end, framing)
    x, y, p = (np.ascontiguousarray(events[name]) for name in ("x", "y", "p"))
    _accumulate(frames, steps, x, y, p, framing.downscale, 1 if framing.binary else _FULL)
    return frames


def frame_all(
    recordings: Iterable[Events],
    number: int,
    sensor_size: SensorSize,
    framing: Framing,
    span: tuple[int, int] | None = None,
) -> Frames:
    """The frames of ``number`` recordings, [N, T, 2, H, W], read one at a time; see ``to_frames``."""
    frames: Frames = np.zeros((number, framing.steps, *framing.input_shape(sensor_size)), dtype=np.uint8)
    for index, events in enumerate(recordings):
        frames[index] = to_frames(events, sensor_size, framing, span)
    return frames


def _checked(span: tuple[int, int], framing: Framing) -> tuple[int, int]:
    first, end = map(int, span)
    if framing.by == "count":
        raise OptionError(f"span={(first, end)}: goes with by='time', not with by='count'")
    if not _EARLIEST <= first < end <= _LATEST + 1:
        raise OptionError(f"span={(first, end)}: must be a start and a later end within 64 bits")
    return first, end


def _steps_by_time(t: npt.NDArray[np.int64], first: int, end: int, framing: Framing) -> npt.NDArray[np.int64]:
    """-1 before the first window, T after the last or the end.

    Windows start at Python's integers, which neither round nor overflow; no event reaches those past 64 bits.
    """
    if framing.window_us is None:
        starts = [first + -(-k * (end - first) // framing.steps) for k in range(framing.steps)]
    else:
        starts = [first + k * framing.window_us for k in range(framing.steps)]
        end = min(end, starts[-1] + framing.window_us)
    reached = np.array([start for start in starts if start <= _LATEST], dtype=np.int64)
    steps = np.searchsorted(reached, t, side="right") - 1
    steps[t > end - 1] = framing.steps
    return steps


def _steps_by_count(number: int, steps: int) -> npt.NDArray[np.int64]:
    group = number // steps
    if not group:
        return np.full(number, steps - 1, dtype=np.int64)
    return np.minimum(np.arange(number, dtype=np.int64) // group, steps - 1)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _accumulate(
    frames: Frames,
    steps: npt.NDArray[np.int64],
    x: npt.NDArray[np.int16],
    y: npt.NDArray[np.int16],
    p: npt.NDArray[np.uint8],
    downscale: int,
    most: int,
) -> None:
    for i in range(len(steps)):
        step = steps[i]
        if 0 <= step < frames.shape[0]:
            row, column = y[i] // downscale, x[i] // downscale
            channel = 1 if p[i] else 0
            if frames[step, channel, row, column] < most:
                frames[step, channel, row, column] += 1
