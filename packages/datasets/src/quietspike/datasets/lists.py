"""Lists that name recordings and their classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from quietspike.core.errors import DataError

_NUMBER = re.compile("[0-9]{1,18}")  # as many digits as always fit into 64 bits


class Listed(NamedTuple):
    """A line of a list file: a sample's number and its class."""

    sample: int
    label: int


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
