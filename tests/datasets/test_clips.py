import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import OptionError
from quietspike.datasets import Framing
from quietspike.datasets.clips import Clips, draw_clip, spread_clips

LENGTHS = st.integers(1, 2000)
NUMBERS = st.integers(1, 12)


@pytest.mark.parametrize(
    ("recorded", "length", "number", "starts"),
    [
        ((100, 1100), 100, 5, [100, 300, 500, 700, 900]),  # longer than all clips: gaps between them
        ((0, 500), 100, 5, [0, 100, 200, 300, 400]),  # as long
        ((0, 250), 100, 5, [0, 50, 100, 150, 150]),  # shorter: they overlap, and the last would end too late
        ((0, 10), 2, 3, [0, 3, 6]),  # 10/3 and 20/3, rounded down
        ((7, 107), 100, 3, [7, 7, 7]),  # as long as one
        ((7, 67), 100, 3, [7, 7, 7]),  # shorter than one
        ((0, 1), 100, 1, [0]),
        ((-50, 50), 20, 2, [-50, 0]),
    ],
)
def test_evenly_spaced_clips_by_hand(recorded, length, number, starts):
    assert spread_clips(recorded, length, number) == [(start, start + length) for start in starts]


def starts_of_the_papers(duration, length, number):
    """Where the clips of Yao et al.'s loader begin: a step of one clip less its overlap, or more its gap, each a whole
    number of microseconds; a clip that would end after the recording is moved back."""
    missing = number * length - duration
    step = length - missing // number if missing > 0 else length + -missing // number
    return [min(clip * step, duration - length) for clip in range(number)]


@given(st.integers(1, 20_000), LENGTHS, NUMBERS)
def test_evenly_spaced_clips_are_the_papers(duration, length, number):
    """But for microseconds, which they round once and we for each clip, and for recordings shorter than a clip."""
    ours = [start for start, _ in spread_clips((0, duration), length, number)]
    theirs = [max(start, 0) for start in starts_of_the_papers(duration, length, number)]
    if duration % number == 0:
        assert ours == theirs
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < number


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 5000), LENGTHS, NUMBERS)
def test_evenly_spaced_clips_lie_inside_of_the_recording_and_in_order(first, duration, length, number):
    end = min(first + duration, 2**63)
    clips = spread_clips((first, end), length, number)
    assert clips == sorted(clips)
    for start, stop in clips:
        assert stop == min(start + length, 2**63)
        assert first <= start
        assert stop <= end or start == first


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 5000), LENGTHS, st.integers(0, 2**32))
def test_a_drawn_clip_lies_inside_of_the_recording(first, duration, length, seed):
    end = min(first + duration, 2**63)
    start, stop = draw_clip((first, end), length, np.random.default_rng(seed))
    assert stop == min(start + length, 2**63)
    assert first <= start <= max(first, end - length)


def test_a_drawn_clip_begins_at_every_microsecond_that_leaves_room():
    random = np.random.default_rng(0)
    starts = [draw_clip((10, 20), 6, random)[0] for _ in range(1000)]
    counts = np.bincount(starts, minlength=15)[10:]
    assert counts.sum() == 1000
    assert (abs(counts - 200) < 5 * np.sqrt(200)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 0}, "clips=0: must be a whole number of at least 1"),
        ({"number": "3"}, "clips='3': must be a whole number of at least 1"),
        ({"start": "last"}, "start='last': must be 'first' or 'random'"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        Clips(**options)


def test_clips_go_with_windows_of_a_length():
    for clips, named in ((Clips(number=3), "clips=3"), (Clips("random"), "start='random'")):
        clips.check(Framing(4, window_us=10))
        for framing in (Framing(4), Framing(4, by="count")):
            with pytest.raises(OptionError, match=f"^{named}: goes with window_us; without it a sample is the whole"):
                clips.check(framing)
    Clips().check(Framing(4))
