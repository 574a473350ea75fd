"""``.txt`` and ``.csv``: a line of four numbers an event, as DVS128 Gait and many others are distributed."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from quietspike.core.errors import DataError
from quietspike.datasets.formats.columns import Layout, find_columns, from_named, from_table
from quietspike.datasets.formats.content import Content, Recording

_MARK = b"\xef\xbb\xbf"  # of UTF-8, at the start
_SEPARATORS = re.compile(rb"[\s,]+")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_NAMES = re.compile(rb"[ \t,]*[A-Za-z_][\x20-\x7e\t]*\r?(?=\n|\Z)")


def read(content: Content, layout: Layout) -> Recording:
    """Numbers between spaces or commas, four a line; what follows a ``#`` is skipped, and so is a first line of names.

    Where that names all of x, y, t and p, it tells the order of columns.

    Raises:
        DataError: if a line is anything else, or there is none; lines are counted from 1.
    """
    start = len(_MARK) if content.data.startswith(_MARK) else 0
    names: list[str] = []
    first = _NAMES.match(content.data, start)
    if first and not any(map(_NUMBER.fullmatch, _cells(first[0]))):
        start = first.end()
        names = [cell.decode() for cell in _cells(first[0])]
    table = _table(content.data[start:].replace(b",", b" "))
    if table is None or (table.size and table.shape[1] != 4):
        raise _bad_line(content, start)
    if first and not table.size and not find_columns(names):  # names of nothing
        raise _bad_line(content, first.start())
    table = table.reshape(-1, 4)
    if len(names) == len(find_columns(names)) == 4:
        return from_named(content.name, dict(zip(names, table.T, strict=True)), layout)
    return from_table(content.name, table, layout)


def _cells(line: bytes) -> list[bytes]:
    return [cell for cell in _SEPARATORS.split(line.partition(b"#")[0]) if cell]


def _table(lines: bytes) -> npt.NDArray[Any] | None:
    """All numbers, as integers where they are, since a float64 cannot tell all times apart."""
    for kind in (np.int64, np.float64):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without a line, which is refused later
            warnings.simplefilter("error", DeprecationWarning)  # numpy 1 cuts fractions off
            try:
                return np.loadtxt(io.BytesIO(lines), dtype=kind, ndmin=2)
            except (ValueError, OverflowError, DeprecationWarning):
                continue
    return None


def _bad_line(content: Content, start: int) -> DataError:
    """The error for the first line behind an offset that is not four numbers."""
    number = content.data.count(b"\n", 0, start) + 1
    for line in content.data[start:].split(b"\n"):
        cells = _cells(line)
        if cells and (len(cells) != 4 or not all(map(_NUMBER.fullmatch, cells))):
            shown = line.strip()[:40].decode("ascii", "backslashreplace")
            return content.error(f"no lines of four numbers: line {number} is {shown!r}", start)
        start += len(line) + 1
        number += 1
    return content.error("no lines of four numbers")
