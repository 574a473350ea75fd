"""``.raw``: Prophesee's EVT 2.0 and EVT 3.0, as its sensors send them."""

from __future__ import annotations

import re
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from quietspike.datasets.events import EVENT, Events
from quietspike.datasets.formats.content import Content, Recording, Whole, pack

_VERSION = re.compile(r"evt (\d\.\d)|EVT(\d+)", re.IGNORECASE)
_SIZE = re.compile(r"geometry ([1-9]\d{0,3})x([1-9]\d{0,3})\b")
_HEIGHT, _WIDTH = re.compile(r"height=([1-9]\d{0,3})\b"), re.compile(r"width=([1-9]\d{0,3})\b")
_LAST_LINE = "% end"
_NO_COLUMN = 1 << 14  # vectors without a base end there: further columns would come round in 16 bits


def read(content: Content) -> Recording:
    """Lines of text, then words of 32 bits (EVT 2.0) or 16 (EVT 3.0), little end first.

    Events before the first full time are dropped: when they happened cannot be told.

    Raises:
        DataError: if the header tells no such version, the file ends inside a word, or there is no event.

    Source:
        Prophesee, EVT 2.0 Format and EVT 3.0 Format.
    """
    lines, start = content.header(b"%", _LAST_LINE)
    version = _version(lines)
    if version == "2":
        events = _evt2(content.records(start, "<u4"))
    elif version == "3":
        events = _evt3(content.records(start, "<u2"))
    else:
        raise content.error(f"a header of EVT {version or 'of no version'}, neither 2.0 nor 3.0,", 0)
    if not len(events):
        raise content.error("empty: no event with a time", start)
    return Recording(events, _size(lines))


def _version(lines: list[str]) -> str | None:
    for line in lines:
        found = _VERSION.search(line)
        if found and ("evt" in line.split()[1:2] or "format" in line.split()[1:2]):
            version = found[1] or found[2]
            return version.removesuffix(".0")
    return None


def _size(lines: list[str]) -> tuple[int, int] | None:
    text = "\n".join(lines)
    found = _SIZE.search(text)
    if found:
        return int(found[1]), int(found[2])
    width, height = _WIDTH.search(text), _HEIGHT.search(text)
    return (int(width[1]), int(height[1])) if width and height else None


def _evt2(words: Whole) -> Events:
    """Events carry the low 6 bits of their time; a word of its own the 28 above, which wrap around."""
    kind = words >> 28
    is_high = kind == 8
    highs = (words[is_high] & 0xFFFFFFF).astype(np.int64)
    wrapped = np.diff(highs, prepend=0) < -(1 << 27)
    highs += np.cumsum(wrapped) << 28
    latest = np.cumsum(is_high)  # of the words that tell the time, how many came so far
    is_event = (kind <= 1) & (latest > 0)
    event, high = words[is_event], highs[latest[is_event] - 1]
    t = high << 6 | (event >> 22 & 63).astype(np.int64)
    return pack(event >> 11 & 0x7FF, event & 0x7FF, t, event >> 28)


def _evt3(words: Whole) -> Events:
    signed = words.astype(np.int32)
    events = np.empty(_decode_evt3(signed, np.empty(0, EVENT)), EVENT)
    _decode_evt3(signed, events)
    return events


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _decode_evt3(words: npt.NDArray[Any], events: Events) -> int:
    """How many events there are; written where there is room for them.

    Each word changes a part of the state (the row, a vector's polarity and first column, the time), or is an event or
    a vector of them.
    """
    number, room = 0, len(events)
    row, base, polarity = 0, 0, 0
    high, low, wraps = -1, 0, 0
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if kind == 0:
            row = value & 0x7FF
        elif kind == 8:
            if high - value > 0x800:
                wraps += 1
            if value != high:
                high, low = value, 0
        elif kind == 6:
            low = value
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind == 2 or kind == 4 or kind == 5:
            first, valid, on = base, value, polarity
            if kind == 2:
                first, valid, on = value & 0x7FF, 1, value >> 11
            elif kind == 5:
                valid, base = value & 0xFF, base + 8
            else:
                base += 12
            base = min(base, _NO_COLUMN)
            while valid and high >= 0:
                if valid & 1:
                    if number < room:
                        event = events[number]
                        event["x"], event["y"], event["p"] = first, row, on
                        event["t"] = wraps << 24 | high << 12 | low
                    number += 1
                first, valid = first + 1, valid >> 1
    return number
