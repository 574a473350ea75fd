import numpy as np
import pytest
import tonic
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from quietspike.core import OptionError
from quietspike.datasets import EVENT, Framing, make_events, read_recording, to_frames

SENSOR = (7, 5, 2)
EVENT_ROWS = st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 1000), st.integers(0, 1))
JIT = settings(deadline=None)  # the first example compiles the kernel


@st.composite
def recordings(draw, rows=EVENT_ROWS):
    return make_events(*np.array(draw(st.lists(rows, max_size=60)), dtype=int).reshape(-1, 4).T)


FRAMINGS = st.builds(
    Framing,
    steps=st.integers(1, 9),
    by=st.sampled_from(["time", "count"]),
    downscale=st.integers(1, 4),
    binary=st.booleans(),
)


def by_histogram(events, edges, downscale=1):
    """The same frames through numpy's own histogram, cell by cell."""
    height, width = -(-5 // downscale), -(-7 // downscale)
    columns = [events["t"], events["p"], events["y"] // downscale, events["x"] // downscale]
    bins = [edges, np.arange(3), np.arange(height + 1), np.arange(width + 1)]
    counts, _ = np.histogramdd(np.stack([np.asarray(c, float) for c in columns], axis=1), bins=[b - 1e-9 for b in bins])
    return counts


@JIT
@given(recordings(), st.integers(1, 9), st.integers(1, 4))
def test_equal_windows_agree_with_numpys_histogram(events, steps, downscale):
    assume(len(events))
    edges = np.linspace(events["t"].min(), events["t"].max() + 1, steps + 1)
    expected = by_histogram(events, edges, downscale)
    assert (to_frames(events, SENSOR, Framing(steps, downscale=downscale)) == expected).all()


@JIT
@given(recordings(), st.integers(1, 9), st.integers(1, 300))
def test_fixed_windows_agree_with_numpys_histogram(events, steps, window):
    assume(len(events))
    expected = by_histogram(events, events["t"].min() + window * np.arange(steps + 1.0))
    assert (to_frames(events, SENSOR, Framing(steps, window_us=window)) == expected).all()


@JIT
@given(recordings(), st.integers(1, 9))
def test_groups_of_events_follow_spikingjellys_rule(events, steps):
    """Group i is events[i * (N // T) : (i + 1) * (N // T)], and the last goes to the end."""
    events = np.sort(events, order="t", kind="stable")
    frames = to_frames(events, SENSOR, Framing(steps, by="count"))
    group = len(events) // steps
    for step in range(steps):
        stop = len(events) if step == steps - 1 else (step + 1) * group
        expected = np.zeros((2, 5, 7), int)
        for event in events[step * group : stop]:
            expected[event["p"], event["y"], event["x"]] += 1
        assert (frames[step] == expected).all()


@JIT
@given(recordings(), FRAMINGS)
def test_no_event_is_lost_or_made(events, framing):
    assume(not framing.binary)
    assert to_frames(events, SENSOR, framing).sum() == len(events)


@JIT
@given(recordings(), FRAMINGS)
def test_binary_is_the_count_up_to_one(events, framing):
    counted, marked = (
        Framing(framing.steps, framing.by, framing.window_us, framing.downscale, binary) for binary in (False, True)
    )
    assert (to_frames(events, SENSOR, marked) == np.minimum(to_frames(events, SENSOR, counted), 1)).all()


@JIT
@given(recordings(), FRAMINGS, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(events, framing, random):
    events["t"] = np.random.default_rng(len(events)).permutation(1000)[: len(events)]  # no two at one time
    order = list(range(len(events)))
    random.shuffle(order)
    assert (to_frames(events[order], SENSOR, framing) == to_frames(events, SENSOR, framing)).all()


@JIT
@given(recordings(st.tuples(*[st.integers(-3, 9)] * 2, st.integers(0, 1000), st.integers(0, 1))), FRAMINGS)
def test_events_off_the_sensor_take_no_part(events, framing):
    on = (events["x"] >= 0) & (events["x"] < 7) & (events["y"] >= 0) & (events["y"] < 5)
    assert (to_frames(events, SENSOR, framing) == to_frames(events[on], SENSOR, framing)).all()


@JIT
@given(recordings(), st.integers(1, 9), st.integers(2, 4))
def test_downscaling_adds_up_cells(events, steps, downscale):
    fine = to_frames(events, SENSOR, Framing(steps))
    padded = np.pad(fine, ((0, 0), (0, 0), (0, -5 % downscale), (0, -7 % downscale)))
    t, c, h, w = padded.shape
    blocks = padded.reshape(t, c, h // downscale, downscale, w // downscale, downscale).sum(axis=(3, 5))
    assert (to_frames(events, SENSOR, Framing(steps, downscale=downscale)) == blocks).all()


def test_tonic_makes_the_same_frames_of_real_recordings(recordings_of_nmnist):
    for events in recordings_of_nmnist:
        windows = tonic.transforms.ToFrame(sensor_size=(34, 34, 2), time_window=20_000)(events)
        assert (to_frames(events, (34, 34, 2), Framing(len(windows), window_us=20_000)) == windows).all()
        events = events[: len(events) // 8 * 8]  # tonic drops the rest, SpikingJelly's rule keeps it
        groups = tonic.transforms.ToFrame(sensor_size=(34, 34, 2), n_event_bins=8)(events)
        assert (to_frames(events, (34, 34, 2), Framing(8, by="count")) == groups).all()


@pytest.fixture
def recordings_of_nmnist(recordings):
    folder = recordings("nmnist-small")
    return [read_recording(folder / f"{number}.bs2").events for number in range(1, 21)]


@pytest.mark.parametrize("by", ["time", "count"])
def test_a_recording_without_events_gives_zeros(by):
    frames = to_frames(np.empty(0, dtype=EVENT), SENSOR, Framing(4, by=by))
    assert frames.shape == (4, 2, 5, 7)
    assert not frames.any()


def test_tonics_events_are_taken_as_they_are():
    theirs = np.array([(3, 1, 10, True), (4, 1, 30, False)], [("x", "i8"), ("y", ">i4"), ("t", "i8"), ("p", "?")])
    signed = np.array([(10, 1, 3, 1), (30, 1, 4, -1)], [("t", "u8"), ("y", "u2"), ("x", "u2"), ("p", "i1")])
    ours = to_frames(make_events([3, 4], [1, 1], [10, 30], [1, 0]), SENSOR, Framing(2))
    assert (to_frames(theirs, SENSOR, Framing(2)) == ours).all()
    assert (to_frames(signed, SENSOR, Framing(2)) == ours).all()


def test_counts_stop_at_255():
    events = make_events([1] * 300, [1] * 300, range(300), [1] * 300)
    assert to_frames(events, SENSOR, Framing(1))[0, 1, 1, 1] == 255


def test_one_event_falls_into_the_first_window():
    assert to_frames(make_events([2], [3], [9], [0]), SENSOR, Framing(4))[0, 0, 3, 2] == 1


def test_with_fewer_events_than_steps_the_last_group_holds_them():
    frames = to_frames(make_events([0, 1], [0, 0], [1, 2], [1, 1]), SENSOR, Framing(4, by="count"))
    assert frames.sum(axis=(1, 2, 3)).tolist() == [0, 0, 0, 2]


def test_a_known_span_fixes_the_windows():
    events = make_events([0] * 4, [0] * 4, [-1, 10, 99, 100], [1] * 4)
    frames = to_frames(events, SENSOR, Framing(10), span=(0, 100))
    assert frames[:, 1, 0, 0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_times_near_the_end_of_64_bits_do_not_overflow():
    end = np.iinfo(np.int64).max - 1
    events = make_events([0, 0], [0, 0], np.array([0, end]), [1, 1])
    assert to_frames(events, SENSOR, Framing(8))[[0, 7], 1, 0, 0].tolist() == [1, 1]
    assert to_frames(events[1:], SENSOR, Framing(8, window_us=10**18))[0, 1, 0, 0] == 1


ENDS = st.one_of(*(st.integers(near, near + 40) for near in (-(2**63), -20, 2**63 - 41)))


@JIT
@given(st.lists(ENDS, min_size=1, max_size=20), st.integers(1, 9), st.none() | st.integers(1, 2**62), st.booleans())
def test_windows_agree_with_pythons_integers(times, steps, window, known):
    """Step ⌊(t − first)·T / length⌋, or ⌊(t − first) / window⌋, from the first time to the last that 64 bits hold."""
    first, end = (-(2**63), 2**63) if known else (min(times), max(times) + 1)
    expected = np.zeros(steps, int)
    for t in times:
        step = (t - first) // window if window else (t - first) * steps // (end - first)
        if step < steps:
            expected[step] += 1
    events = make_events([0] * len(times), [0] * len(times), np.array(times, dtype=np.int64), [1] * len(times))
    frames = to_frames(events, SENSOR, Framing(steps, window_us=window), span=(first, end) if known else None)
    assert frames[:, 1, 0, 0].tolist() == expected.tolist()


@JIT
@given(recordings(), st.integers(1, 5), st.integers(1, 300), st.integers(-100, 1100), st.integers(1, 1200))
@example(make_events([0, 0], [0, 0], [95, 105], [1, 1]), 5, 30, 0, 100)  # the fifth window starts after the end
def test_a_span_cuts_a_clip_out_of_a_recording_of_any_order(events, steps, window, first, length):
    for framing in (Framing(steps, window_us=window), Framing(steps)):
        cut = events[(events["t"] >= first) & (events["t"] < first + length)]
        width = window if framing.window_us else length / steps
        edges = first + width * np.arange(steps + 1.0)
        expected = by_histogram(cut, edges)
        assert (to_frames(events, SENSOR, framing, span=(first, first + length)) == expected).all()


def test_a_span_ends_before_its_last_window_does():
    events = make_events([0] * 3, [0] * 3, [0, 14, 15], [1] * 3)
    frames = to_frames(events, SENSOR, Framing(2, window_us=10), span=(np.int64(0), np.int64(15)))
    assert frames.sum(axis=(1, 2, 3)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("by", "span", "message"),
    [
        ("count", (0, 9), "goes with by='time', not with by='count'"),
        ("time", (9, 9), "must be a start and a later end within 64 bits"),
        ("time", (0, 2**63 + 1), "must be a start and a later end within 64 bits"),
    ],
)
def test_a_span_that_means_nothing_is_refused(by, span, message):
    with pytest.raises(OptionError, match=rf"^span=\({span[0]}, {span[1]}\): {message}$"):
        to_frames(np.empty(0, dtype=EVENT), SENSOR, Framing(4, by=by), span=span)


def test_an_odd_polarity_byte_stays_inside_the_frame():
    events = make_events([0], [0], [0], [1])
    events["p"] = 200
    assert to_frames(events, SENSOR, Framing(1))[0, 1, 0, 0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": True}, "steps=True"),
        ({"steps": None}, "steps=None"),
        ({"steps": 4, "by": "events"}, "by='events'"),
        ({"steps": 4, "window_us": 0}, "window_us=0"),
        ({"steps": 4, "by": "count", "window_us": 5}, "window_us=5: goes with by='time'"),
        ({"steps": 4, "downscale": 1.5}, "downscale=1.5"),
        ({"steps": 4, "binary": "False"}, "binary='False'"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        Framing(**options)
