"""Any recording by its file's name: which reader reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from quietspike.core.errors import DataError, unknown_name
from quietspike.datasets.formats import aedat, aedat4, arrays, atis_bin, dat, evt, hdf5, text
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.formats.content import Content, Recording

_SELF_TELLING: dict[str, Callable[[Content], Recording]] = {
    ".aedat": aedat.read,
    ".aedat4": aedat4.read,
    ".bin": atis_bin.read,
    ".bs2": atis_bin.read,
    ".dat": dat.read,
    ".raw": evt.read,
}
_TABLES: dict[str, Callable[[Content, Layout], Recording]] = {
    ".csv": text.read,
    ".h5": hdf5.read,
    ".hdf5": hdf5.read,
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".txt": text.read,
}

SUFFIXES = frozenset({*_SELF_TELLING, *_TABLES})
"""Of the files that are read here."""


def read_recording(path: str | Path, layout: Layout | None = None) -> Recording:
    """Read the events of one file; its suffix tells the format.

    ``.aedat`` (AEDAT 2.0 and 3.1), ``.aedat4``, ``.bin`` and ``.bs2`` (N-MNIST), ``.dat`` (Prophesee, ATIS), ``.raw``
    (EVT 2.0 and 3.0), ``.npy``, ``.npz``, ``.h5``, ``.txt`` and ``.csv``. Nothing is filtered or sorted: events outside
    of the sensor or out of order are given as they are.

    Args:
        path: of the file.
        layout: of formats that do not tell the order of columns or the unit of time (``.npy``, ``.npz``, ``.h5``,
            ``.txt``, ``.csv``).

    Raises:
        DataError: if the file cannot be read, or is damaged or empty; names it, what is wrong and, where
            it is known, the byte offset.
        UnknownNameError: for a suffix of no known format.
    """
    path = Path(path)
    return read_content(Content(str(path), read_bytes(path)), path.suffix, layout)


def read_content(content: Content, suffix: str, layout: Layout | None = None) -> Recording:
    """As ``read_recording``, of bytes that are there already."""
    suffix = suffix.lower()
    if suffix not in SUFFIXES:
        raise unknown_name(f"{content.name}: format", suffix, SUFFIXES)
    if suffix in _TABLES:
        return _TABLES[suffix](content, layout or Layout())
    return _SELF_TELLING[suffix](content)


def read_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        DataError: if it cannot be read; names it and the reason.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
