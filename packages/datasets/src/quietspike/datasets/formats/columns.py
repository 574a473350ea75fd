"""Events in arrays and tables that others have made: which column is which."""

from __future__ import annotations

from collections.abc import Mapping
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


def from_named(name: str, fields: Mapping[str, npt.NDArray[Any]], layout: Layout) -> Recording:
    """Events from arrays by name.

    Raises:
        DataError: if one is missing, or none of events.
    """
    lower = {field.lower(): field for field in fields}
    found = {}
    for column, names in _NAMES.items():
        known = next((lower[other] for other in names if other in lower), None)
        if known is None:
            there = one_line(", ".join(sorted(fields)) or "none")
            raise DataError(f"{name}: no {' or '.join(names)} among its arrays ({there}) at offset 0")
        found[column] = fields[known]
    return _checked(name, found, layout)


def from_table(name: str, table: npt.NDArray[Any], layout: Layout) -> Recording:
    """Events from a structured array, or from one of four columns (or four rows).

    Raises:
        DataError: if it is neither.
    """
    if table.dtype.names:
        return from_named(name, {field: table[field] for field in table.dtype.names}, layout)
    if table.ndim == 2 and table.shape[0] == 4 != table.shape[1]:
        table = table.T
    if table.ndim != 2 or table.shape[1] != 4:
        raise DataError(f"{name}: shape {list(table.shape)}, not four columns, at offset 0")
    return _checked(name, dict(zip(layout.columns, table.T, strict=True)), layout)


def _checked(name: str, fields: Mapping[str, npt.NDArray[Any]], layout: Layout) -> Recording:
    try:
        columns = {column: np.ravel(values) for column, values in fields.items()}
        events = make_events(**{**columns, "t": _microseconds(columns["t"], layout.unit_us)})
    except DataError as error:
        raise DataError(f"{name}: {error} at offset 0") from None
    if not len(events):
        raise DataError(f"{name}: empty: no event at offset 0")
    return Recording(events)


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
