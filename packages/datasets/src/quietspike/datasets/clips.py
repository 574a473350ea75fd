"""Which part of a recording a sample shows, where windows have a length of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from quietspike.core.checks import check_whole
from quietspike.core.errors import OptionError
from quietspike.datasets.frames import Framing

Span: TypeAlias = tuple[int, int]
"""Start and end in µs; the end is not in it."""


@dataclass(frozen=True)
class Clips:
    """T consecutive windows out of a longer recording: one clip to train with, one or several to measure with.

    Args:
        start: where a clip to train with begins: with the ``first`` event, or at a ``random`` time, drawn anew in each
            epoch, that leaves T windows before the recording's end.
        number: of clips to validate and test with, evenly spaced.

    Raises:
        OptionError: if a value is out of its range.
    """

    start: Literal["first", "random"] = "first"
    number: int = 1

    def __post_init__(self) -> None:
        check_whole(clips=self.number)
        if self.start not in ("first", "random"):
            raise OptionError(f"start={self.start!r}: must be 'first' or 'random'")

    def check(self, framing: Framing) -> None:
        """Refuse clips of windows without a length.

        Raises:
            OptionError: naming the option.
        """
        if framing.window_us is None and self != Clips():
            option = f"clips={self.number}" if self.number > 1 else f"start={self.start!r}"
            raise OptionError(f"{option}: goes with window_us; without it a sample is the whole recording")


def draw_clip(recorded: Span, length_us: int, random: np.random.Generator) -> Span:
    """A clip that begins at a random microsecond; with the recording itself where that is shorter than the clip."""
    first, end = recorded
    return _clip(int(random.integers(first, max(first, end - length_us), endpoint=True)), length_us)


def spread_clips(recorded: Span, length_us: int, number: int) -> list[Span]:
    """Evenly spaced clips: they begin at ⌊j·D / number⌋ of the recording's length D, and none ends after it.

    They overlap where the recording is shorter than all of them together. In a recording shorter than one clip they all
    begin with it.

    Source:
        The test loader of the code of Yao et al. 2023, Attention Spiking Neural Networks. Differs: windows begin with
        the clip, not with its first event; a clip that is longer than its recording begins with it; and starts are
        rounded one by one, so by a few microseconds.
    """
    first, end = recorded
    duration = end - first
    room = max(duration - length_us, 0)
    starts = [first + min(j * duration // number, room) for j in range(number)]
    return [_clip(start, length_us) for start in starts]


def _clip(start: int, length_us: int) -> Span:
    return start, min(start + length_us, 1 << 63)  # no event is later
