"""Readers of recordings and of the lists that name them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quietspike.core.errors import DataError
from quietspike.datasets.events import Events, make_events

_EVENT_BYTES = 5
_OVERFLOW_ROW = 240
_OVERFLOW_US = 1 << 13
_NUMBER = re.compile("[0-9]{1,18}")  # as many digits as always fit into 64 bits


class Listed(NamedTuple):
    """A line of a list file: a sample's number and its class."""

    sample: int
    label: int


def read_bin(path: Path) -> Events:
    """Read a recording of N-MNIST or N-Caltech101 (``.bin``, ``.bs2``).

    Five bytes an event: x, y, then one bit of polarity and 23 bits of microseconds, big end first. An event on row 240
    is no event: the clock wrapped around there, and all times from it on grow by 2^13 µs.

    Raises:
        DataError: if the file cannot be read, is empty or holds clock overflows alone, or ends inside an event; names
            the file and the byte offset.

    Source:
        Orchard et al. 2015, Converting static image datasets to spiking neuromorphic datasets using saccades.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    whole, rest = divmod(len(content), _EVENT_BYTES)
    if rest:
        raise DataError(
            f"{path}: ends inside an event: {rest} of {_EVENT_BYTES} bytes at offset {whole * _EVENT_BYTES}"
        )
    if not whole:
        raise DataError(f"{path}: empty: no event at offset 0")
    x, y, high, middle, low = np.frombuffer(content, dtype=np.uint8).reshape(-1, _EVENT_BYTES).T
    wrapped = y == _OVERFLOW_ROW
    if wrapped.all():
        raise DataError(f"{path}: empty: no event at offset 0 or later, {whole} clock overflows")
    t = (high.astype(np.int64) & 127) << 16 | middle.astype(np.int64) << 8 | low
    t += np.cumsum(wrapped) * _OVERFLOW_US
    proper = ~wrapped
    return make_events(x[proper], y[proper], t[proper], high[proper] >> 7)


def read_list(path: Path, classes: int) -> list[Listed]:
    """Read a list of samples: lines of ``sample class``; blank lines and those that start with ``#`` are skipped.

    UTF-8, with or without a byte order mark.

    Args:
        path: the list file.
        classes: how many classes there are; a class is 0 to ``classes`` - 1.

    Raises:
        DataError: if the file cannot be read, a line is not two such numbers, or a sample is named twice; names the
            file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of samples: {error}") from error
    listed: dict[int, Listed] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        where = f"{path}: line {number}"
        if len(fields) != 2 or not all(map(_NUMBER.fullmatch, fields)):
            raise DataError(f"{where}: expected a sample and a class, not {line.strip()[:40]!r}")
        entry = Listed(int(fields[0]), int(fields[1]))
        if entry.label >= classes:
            raise DataError(f"{where}: class {entry.label} is not one of 0 to {classes - 1}")
        if entry.sample in listed:
            raise DataError(f"{where}: sample {entry.sample} is named a second time")
        listed[entry.sample] = entry
    if not listed:
        raise DataError(f"{path}: names no sample")
    return list(listed.values())
