"""Events in arrays and tables that others have made: which column is which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quietspike.core.checks import check_positive
from quietspike.core.errors import DataError, OptionError
from quietspike.datasets.events import make_events
from quietspike.datasets.formats.content import Recording, one_line

_NAMES = {
    "x": ("x", "xs", "x_pos"),
    "y": ("y", "ys", "y_pos"),
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "p": ("p", "ps", "pol", "polarity"),
}

_NO_START = np.zeros((), np.int64)


@dataclass(frozen=True)
class Layout:
    """What a table of events does not say of itself.

    Args:
        columns: x, y, t and p in the order of its columns, where these have no names.
        unit_us: microseconds of a unit of its times: 1000 for milliseconds, 1e6 for seconds.

    Raises:
        OptionError: if a value is out of its range.
    """

    columns: str = "txyp"
    unit_us: float = 1

    def __post_init__(self) -> None:
        if not isinstance(self.columns, str) or sorted(self.columns) != ["p", "t", "x", "y"]:
            raise OptionError(f"columns={self.columns!r}: must hold each of x, y, t and p once, as 'txyp' does")
        check_positive(unit_us=self.unit_us)


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """Which names stand for x, y, t and p, by column; a column that none stands for is left out."""
    lower = {name.lower(): name for name in sorted(names)}  # of x and X, x
    known = {column: [lower[name] for name in names if name in lower] for column, names in _NAMES.items()}
    return {column: found[0] for column, found in known.items() if found}


def find_table(kinds: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> str | None:
    """Which of some arrays, of those dtypes and shapes, is a table of events, if it is one alone.

    One with the fields is, whatever else has four columns.
    """
    structured = [name for name, (dtype, _) in kinds.items() if len(find_columns(dtype.names or ())) == len(_NAMES)]
    plain = [name for name, (dtype, shape) in kinds.items() if dtype.kind in "buif" and len(shape) == 2 and 4 in shape]
    found = structured or plain
    return found[0] if len(found) == 1 else None


def no_columns(name: str, names: Iterable[str]) -> DataError:
    """The error for a file among whose names one of a column is missing."""
    names = sorted(names)
    missing = next(known for column, known in _NAMES.items() if column not in find_columns(names))
    there = one_line(", ".join(names) or "none")
    return DataError(f"{name}: no {' or '.join(missing)} among its arrays ({there})")


def from_named(
    name: str, fields: Mapping[str, npt.NDArray[Any]], layout: Layout, start: npt.NDArray[Any] = _NO_START
) -> Recording:
    """Events from arrays by name; the start, a number, is added to their times.

    Raises:
        DataError: if one is missing, or none of events.
    """
    found = find_columns(fields)
    if len(found) < len(_NAMES):
        raise no_columns(name, fields)
    return _checked(name, {column: fields[known] for column, known in found.items()}, layout, start)


def from_table(name: str, table: npt.NDArray[Any], layout: Layout, start: npt.NDArray[Any] = _NO_START) -> Recording:
    """Events from a structured array, or from one of four columns (or four rows); as ``from_named``.

    Raises:
        DataError: if it is neither, or its columns are in another order than the layout's.
    """
    if table.dtype.names:
        return from_named(name, {field: table[field] for field in table.dtype.names}, layout, start)
    if table.ndim == 2 and table.shape[0] == 4 != table.shape[1]:
        table = table.T
    if table.ndim != 2 or table.shape[1] != 4:
        raise DataError(f"{name}: shape {list(table.shape)}, not four columns")
    columns, hint = dict(zip(layout.columns, table.T, strict=True)), f"; is columns={layout.columns!r} right?"
    return _checked(name, columns, layout, start, hint)


def _checked(
    name: str, fields: Mapping[str, npt.NDArray[Any]], layout: Layout, start: npt.NDArray[Any], hint: str = ""
) -> Recording:
    try:
        columns = {column: _flat(values) for column, values in fields.items()}
        events = make_events(**{**columns, "t": _microseconds(_later(columns["t"], start), layout.unit_us)})
        p = columns["p"]
        if hint and len(p) and not ((p == p.min()) | (p == p.max())).all():
            raise DataError("events: p holds more than two values")
    except DataError as error:
        raise DataError(f"{name}: {error}{hint}") from None
    if not len(events):
        raise DataError(f"{name}: empty: no event")
    return Recording(events)


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column that lies, as Matlab's do, in one column or row of a table, or is a single number."""
    return values.reshape(-1) if values.size == max(values.shape, default=1) else values


def _later(t: npt.NDArray[Any], start: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Times after a start in their unit.

    Raises:
        DataError: if these do not fit into 64 bits.
    """
    if start == 0 or not t.size or t.dtype.kind not in "buif":
        return t
    if t.dtype.kind == "f" or start.dtype.kind == "f":
        return t.astype(np.float64) + start.astype(np.float64)
    first, last = (int(end) + int(start) for end in (t.min(), t.max()))
    limits = np.iinfo(np.int64)
    if not limits.min <= first <= last <= limits.max:
        raise DataError(f"events: t from {first} to {last} does not fit into 64 bits")
    return t.astype(np.int64) + start.astype(np.int64)  # what wraps here wraps back: the sum fits


def _microseconds(t: npt.NDArray[Any], unit_us: float) -> npt.NDArray[Any]:
    """Rounded to whole ones.

    Raises:
        DataError: if times have fractions and no unit was given: these are seconds, and would all become 0.
    """
    if unit_us == 1:
        if t.dtype.kind == "f" and np.isfinite(t).all() and (t % 1).any():
            raise DataError("events: t holds fractions of its unit; say unit_us, the microseconds of one")
        return t
    if t.dtype.kind not in "buif":
        return t
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        return np.rint(t.astype(np.float64) * unit_us)
