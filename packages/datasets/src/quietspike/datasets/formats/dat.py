"""``.dat``: Prophesee's and ATIS's format of decoded events, as N-CARS is published in."""

from __future__ import annotations

import re

import numpy as np

from quietspike.datasets.formats.content import Content, Recording, pack, unwrap

_PAIR = np.dtype([("time", "<u4"), ("address", "<u4")])
_FACT = re.compile(r"%\s*(\w+)\s+(\d{1,4})\s*")
_KINDS = (0, 12)  # 2D and contrast detection: one layout


def read(content: Content) -> Recording:
    """Lines of text, two bytes with an event's type and size, then eight bytes an event: time and address.

    From version 2 on an address holds 14 bits of x, 14 of y and one of polarity, before it 9, 8 and one.

    Raises:
        DataError: if the events are of another type, or the file ends inside one or holds none.

    Source:
        Prophesee, DAT file format.
    """
    lines, start = content.header(b"%")
    if len(content.data) - start < 2:
        raise content.error("ends before the events' type and size", start)
    kind, size = content.data[start : start + 2]
    if kind not in _KINDS or size != _PAIR.itemsize:
        raise content.error(f"events of type {kind} and {size} bytes, not {_KINDS[0]} and {_PAIR.itemsize},", start)
    pairs = content.records(start + 2, _PAIR)
    facts = _facts(lines)
    x_bits, y_bits = (14, 14) if facts.get("version", 2) >= 2 else (9, 8)
    address = pairs["address"]
    x, y = address & (1 << x_bits) - 1, address >> x_bits & (1 << y_bits) - 1
    events = pack(x, y, unwrap(pairs["time"], 32), address >> (x_bits + y_bits) & 1)
    width, height = facts.get("width", 0), facts.get("height", 0)
    return Recording(events, (width, height) if width and height else None)


def _facts(lines: list[str]) -> dict[str, int]:
    """``% Version 2`` and its like."""
    found = (_FACT.fullmatch(line) for line in lines)
    return {fact[1].lower(): int(fact[2]) for fact in found if fact}
