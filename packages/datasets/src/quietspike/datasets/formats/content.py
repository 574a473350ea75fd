"""A file's bytes under the file's name, what readers have in common, and what they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quietspike.core.errors import DataError
from quietspike.datasets.events import EVENT, Events

MOST_BYTES = 1 << 31
"""What a small compressed file may unpack to; it could otherwise fill any memory."""

_MOST_RATIO = 64  # of what a large one unpacks to and its own size

Whole = npt.NDArray[np.integer[Any]]


class Recording(NamedTuple):
    """What a file holds.

    Args:
        events: in the file's order.
        size: width and height of the sensor, where the file tells.
    """

    events: Events
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Content:
    """A file's bytes.

    Args:
        name: of the file, for messages.
        data: all of it.
    """

    name: str
    data: bytes

    def error(self, problem: str, offset: int | None = None) -> DataError:
        """What is wrong, and at which byte, where that is known."""
        return DataError(f"{self.name}: {problem}" + ("" if offset is None else f" at offset {offset}"))

    @property
    def most_bytes(self) -> int:
        """What the file may unpack to: ``MOST_BYTES``, or 64 times its own size where that is more."""
        return max(MOST_BYTES, _MOST_RATIO * len(self.data))

    def header(self, mark: bytes, last: str | None = None) -> tuple[list[str], int]:
        """The lines at the start that begin with a mark, and the offset behind them.

        A line of a header is text; binary data may begin with the mark's byte too, and is none. Nor is it behind the
        last line, in formats that have one.
        """
        lines: list[str] = []
        start = 0
        while self.data.startswith(mark, start) and lines[-1:] != [last]:
            end = self.data.find(b"\n", start)
            line = self.data[start:end].rstrip(b"\r")
            if end < 0 or any(byte < 32 and byte != 9 for byte in line):
                break
            lines.append(line.decode("utf-8", "replace"))
            start = end + 1
        return lines, start

    def records(self, start: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """What the file holds from an offset to its end, as records of one type.

        Raises:
            DataError: if it ends inside of one, or holds none.
        """
        kind = np.dtype(dtype)
        whole, rest = divmod(len(self.data) - start, kind.itemsize)
        if rest:
            problem = f"ends inside an event: {rest} of {kind.itemsize} bytes"
            raise self.error(problem, start + whole * kind.itemsize)
        if not whole:
            raise self.error("empty: no event", start)
        return np.frombuffer(self.data, kind, offset=start)


def pack(x: Whole, y: Whole, t: Whole, p: Whole | npt.NDArray[np.bool_]) -> Events:
    """Events from columns that a reader has cut out of at most 16 bits (x, y) and 64 (t); p above 0 is ON."""
    events = np.empty(len(t), dtype=EVENT)
    events["x"], events["y"], events["t"], events["p"] = x, y, t, p > 0
    return events


def one_line(text: object) -> str:
    """Of a name or an error's text, which may be long and have any lines, what fits into a message."""
    return " ".join(str(text).split())[:120] or type(text).__name__


def unwrap(t: Whole, bits: int) -> npt.NDArray[np.int64]:
    """Times of a clock that starts anew after 2^bits µs: a step back by more than half of that is a new start."""
    times = t.astype(np.int64)
    wrapped = np.diff(times) < -(1 << (bits - 1))
    times[1:] += np.cumsum(wrapped) << bits
    return times
