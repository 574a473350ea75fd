"""Events to frames: which step an event belongs to, and the count of events at each pixel of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from quietspike.core.checks import check_flag, check_whole
from quietspike.core.errors import OptionError
from quietspike.datasets.events import EVENT, Events, as_events, inside, sort_by_time

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
        events: the recording, as ``EVENT`` or with fields that ``as_events`` takes; by time in any order, by count
            they are put in order of time.
        sensor_size: width, height, polarities.
        framing: how.
        span: the recording's start and end in µs, where they are known, for framing by time; events before the start,
            at the end or later are dropped. Left out: from the first event to the last.

    Shape:
        [N] events → [T, 2, H, W], uint8.

    Raises:
        OptionError: if a span is given for framing by count, or is not a start and a later end within 64 bits.
        DataError: if ``as_events`` refuses the events.
    """
    if getattr(events, "dtype", None) != EVENT:
        events = as_events(events)
    if span is not None:
        span = _checked(span, framing)
    frames: Frames = np.zeros((framing.steps, *framing.input_shape(sensor_size)), dtype=np.uint8)
    width, height, _ = sensor_size
    most = 1 if framing.binary else _FULL
    if framing.by == "count":
        events = sort_by_time(inside(events, width, height))
        _add_by_count(frames, events, framing.downscale, most)
        return frames
    first, end = span or _ends(events, width, height)
    windows, recorded = _windows(first, end, framing), (first, end - 1)
    outside = _add_by_time(frames, events, windows, recorded, (width, height), framing.downscale, most)
    if span is None and outside:  # it is not in order, so these were not its ends
        return to_frames(sort_by_time(events), sensor_size, framing)
    return frames


def _checked(span: tuple[int, int], framing: Framing) -> tuple[int, int]:
    first, end = map(int, span)
    if framing.by == "count":
        raise OptionError(f"span={(first, end)}: goes with by='time', not with by='count'")
    if not _EARLIEST <= first < end <= _LATEST + 1:
        raise OptionError(f"span={(first, end)}: must be a start and a later end within 64 bits")
    return first, end


def _ends(events: Events, width: int, height: int) -> tuple[int, int]:
    """When the first event on the sensor came and just after the last did, of a recording in order of time."""
    first = _find_inside(events, 0, 1, width, height)
    if first < 0:
        return 0, 1
    last = _find_inside(events, len(events) - 1, -1, width, height)
    return int(events["t"][first]), max(int(events["t"][last]), int(events["t"][first])) + 1


def _windows(first: int, end: int, framing: Framing) -> npt.NDArray[np.int64]:
    """When each window starts, and the last time that falls into the last one.

    In Python's integers, which neither round nor overflow; windows that no event reaches are left out.
    """
    if framing.window_us is None:
        starts = [first + -(-k * (end - first) // framing.steps) for k in range(framing.steps)]
    else:
        starts = [first + k * framing.window_us for k in range(framing.steps)]
        end = min(end, starts[-1] + framing.window_us)
    return np.array([*(start for start in starts if start < end), end - 1], dtype=np.int64)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_inside(events: Events, index: int, way: int, width: int, height: int) -> int:
    """Index of the next event on the sensor, from an index on in one way or the other; -1 if there is none."""
    while 0 <= index < len(events):
        x, y = events[index]["x"], events[index]["y"]
        if 0 <= x < width and 0 <= y < height:
            return index
        index += way
    return -1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_by_time(
    frames: Frames,
    events: Events,
    windows: npt.NDArray[np.int64],
    recorded: tuple[int, int],
    size: tuple[int, int],
    downscale: int,
    most: int,
) -> int:
    """Count events of any order into their windows; gives the number on the sensor that were not recorded in that time.

    Most events fall into the window of the one before, so that is looked at first.
    """
    count, (first, last), (width, height) = len(windows) - 1, recorded, size
    outside, step, low, high = 0, -1, 1, 0
    for event in events:
        t, x, y = event["t"], event["x"], event["y"]
        if x < 0 or x >= width or y < 0 or y >= height:
            continue
        if t < low or t > high:
            outside += t < first or t > last
            if t < windows[0] or t > windows[count]:
                continue
            step = np.searchsorted(windows[:count], t, side="right") - 1
            low = windows[step]
            high = windows[step + 1] - (step + 1 < count)
        _add(frames[step], event["p"], y, x, downscale, most)
    return outside


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_by_count(frames: Frames, events: Events, downscale: int, most: int) -> None:
    steps = len(frames)
    group = len(events) // steps
    for index, event in enumerate(events):
        step = min(index // group, steps - 1) if group else steps - 1
        _add(frames[step], event["p"], event["y"], event["x"], downscale, most)


@numba.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _add(frame: Frames, p: int, y: int, x: int, downscale: int, most: int) -> None:
    row, column = (y, x) if downscale == 1 else (y // downscale, x // downscale)
    channel = 1 if p else 0
    if frame[channel, row, column] < most:
        frame[channel, row, column] += 1
