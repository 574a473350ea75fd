"""Events of an event camera: one structured array a recording, and how to make, order and slice it."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from quietspike.core.errors import DataError

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.uint8)])
"""x: column; y: row, counted downwards; t: microseconds; p: 1 is ON (brighter), 0 is OFF (darker)."""

Events: TypeAlias = npt.NDArray[np.void]
"""A one-dimensional array of ``EVENT``."""


def make_events(x: npt.ArrayLike, y: npt.ArrayLike, t: npt.ArrayLike, p: npt.ArrayLike) -> Events:
    """Events from four columns.

    A polarity above 0 is ON and any other OFF, so 0/1, -1/+1 and booleans all read alike.

    >>> make_events(x=[3, 4], y=[1, 1], t=[10, 12], p=[True, False])["p"]
    array([1, 0], dtype=uint8)

    Raises:
        DataError: if a column is not one-dimensional, holds anything but finite numbers or differs in length, or a
            coordinate or a time has fractions or does not fit into 16 bits or 64; events are counted from 1.
    """
    columns = {name: _column(name, values) for name, values in {"x": x, "y": y, "t": t, "p": p}.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"events: columns of different lengths: {lengths}")
    for name in ("x", "y", "t"):
        _check_whole(name, columns[name], np.iinfo(EVENT[name]))
    events = np.empty(lengths["t"], dtype=EVENT)
    events["x"], events["y"], events["t"] = columns["x"], columns["y"], columns["t"]
    events["p"] = columns["p"] > 0
    return events


def _check_whole(name: str, column: npt.NDArray[Any], limits: np.iinfo[Any]) -> None:
    if column.dtype.kind == "f" and (broken := column % 1 != 0).any():
        first = int(np.argmax(broken))
        raise DataError(f"events: {name} holds fractions, the first at event {first + 1}: {column[first]}")
    # As Python's integers: a float64 cannot tell 2^63 - 1, which fits, from 2^63.
    if column.size and not limits.min <= int(column.min()) <= int(column.max()) <= limits.max:
        first = int(np.argmax((column < limits.min) | (column >= limits.max + 1)))
        problem = f"{name} from {column.min()} to {column.max()} does not fit into {limits.bits} bits"
        raise DataError(f"events: {problem}, the first at event {first + 1}")


def _column(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    try:
        column = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise DataError(f"events: {name} is no column of numbers: {error}") from error
    if column.ndim != 1:
        raise DataError(f"events: {name} has the shape {list(column.shape)}, not one dimension")
    if column.dtype.kind not in "buif":
        raise DataError(f"events: {name} holds {column.dtype}, not numbers of at most 64 bits")
    if not np.isfinite(column).all():
        raise DataError(f"events: {name} holds numbers that are not finite")
    return column


def as_events(recording: npt.NDArray[Any]) -> Events:
    """Events from any structured array with the fields x, y, t and p, such as tonic's; ``EVENT`` comes back as it is.

    Raises:
        DataError: if it is none, a field is missing, t holds no integers, or ``make_events`` refuses a field.
    """
    if not isinstance(recording, np.ndarray) or recording.dtype.names is None:
        found = type(recording).__name__
        if isinstance(recording, np.ndarray):
            found = f"an array of {recording.dtype} of shape {list(recording.shape)}"
        raise DataError(f"events: {found} is no structured array of x, y, t and p; make_events makes one of columns")
    missing = [name for name in ("x", "y", "t", "p") if name not in recording.dtype.names]
    if missing:
        raise DataError(f"events: no field {', '.join(missing)} among {', '.join(recording.dtype.names) or 'none'}")
    if recording.dtype["t"].kind == "f":  # of seconds, as likely as not
        raise DataError(f"events: t holds {recording.dtype['t']}, not whole microseconds")
    if recording.dtype == EVENT and recording.ndim == 1 and recording["p"].max(initial=0) <= 1:
        return recording
    return make_events(recording["x"], recording["y"], recording["t"], recording["p"])


def sort_by_time(events: Events) -> Events:
    """Events in order of time; those of one microsecond stay in their order. Sorted events come back as they are."""
    if np.all(events["t"][1:] >= events["t"][:-1]):
        return events
    return events[np.argsort(events["t"], kind="stable")]


def slice_by_time(events: Events, start: int, stop: int) -> Events:
    """Events with start <= t < stop, of a recording in order of time; a view."""
    last = np.iinfo(np.int64).max
    return events[_find_time(events, start) : _find_time(events, stop) if stop <= last else None]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _find_time(events: Events, t: int) -> int:
    """How many events came before a time; numpy's search would copy the column first."""
    low, high = 0, len(events)
    while low < high:
        middle = (low + high) // 2
        if events[middle]["t"] < t:
            low = middle + 1
        else:
            high = middle
    return low


def inside(events: Events, width: int, height: int) -> Events:
    """Events on a sensor of that size; those outside of it, which damaged recordings hold, are dropped."""
    kept = (events["x"] >= 0) & (events["x"] < width) & (events["y"] >= 0) & (events["y"] < height)
    return events if kept.all() else events[kept]
