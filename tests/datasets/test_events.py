import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quietspike.core import DataError
from quietspike.datasets.events import EVENT, as_events, inside, make_events, slice_by_time, sort_by_time

TIMES = hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 50))


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    slice_by_time(numbered(np.arange(2)), 0, 1)  # or the first example would take too long


def numbered(times):
    """Events that carry their position as x."""
    return make_events(np.arange(len(times)), np.zeros(len(times)), times, np.ones(len(times)))


def test_polarities_of_every_habit_read_alike():
    for polarities in ([0, 1], [-1, 1], [False, True], [0, 7]):
        assert make_events([1, 2], [3, 4], [5, 6], polarities)["p"].tolist() == [0, 1]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(DataError, match=r"different lengths.*'y': 2"):
        make_events([1], [1, 2], [1], [1])


@pytest.mark.parametrize("x", [40_000, -40_000])
def test_a_coordinate_that_would_wrap_is_refused(x):
    with pytest.raises(DataError, match="does not fit into 16 bits"):
        make_events([x], [0], [0], [0])


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, np.nan], "holds numbers that are not finite"),
        ([-np.inf, 1.0], "holds numbers that are not finite"),
        (["1", "2"], "holds <U1, not numbers"),
        ([1, 2**64], "holds object, not numbers of at most 64 bits"),
        ([[1], [2]], r"has the shape \[2, 1\], not one dimension"),
        (1, r"has the shape \[\], not one dimension"),
        ([[1], [1, 2]], "is no column of numbers"),
    ],
)
def test_a_column_of_something_else_is_named(column, values, message):
    columns = [[1, 2] for _ in "xytp"]
    columns[column] = values
    with pytest.raises(DataError, match=f"^events: {'xytp'[column]} {message}") as raised:
        make_events(*columns)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("t", [2.0**63, -(2.0**63) - 2048, np.uint64(2**63), 1e300])
def test_a_time_that_would_wrap_is_refused(t):
    with pytest.raises(DataError, match=r"^events: t from .* does not fit into 64 bits, the first at event 2$"):
        make_events([0, 0], [0, 0], np.array([0, t], dtype=np.asarray(t).dtype), [0, 0])


@pytest.mark.parametrize("column", range(3))
def test_fractions_are_refused_and_not_cut_off(column):
    columns = [np.array([1.0, 2.0, 3.0]) for _ in "xytp"]
    columns[column][1] = 2.5
    with pytest.raises(DataError, match=rf"^events: {'xyt'[column]} holds fractions, the first at event 2: 2\.5$"):
        make_events(*columns)


@pytest.mark.parametrize("t", [-(2**63), 2**63 - 1, -(2.0**63), 2.0**63 - 1024, np.uint64(2**63 - 1)])
def test_the_outermost_times_fit(t):
    assert make_events([0], [0], [t], [0])["t"].tolist() == [int(t)]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("off", [0, -1])
def test_other_structured_arrays_convert(order, off):
    fields = [("t", f"{order}u8"), ("x", f"{order}i2"), ("y", f"{order}u2"), ("p", "i1"), ("z", "f4")]
    events = as_events(np.array([(5, 1, 2, 1, 0.5), (6, 3, 4, off, 0.5)], dtype=fields))
    assert events.dtype == EVENT
    assert events.tolist() == [(1, 2, 5, 1), (3, 4, 6, 0)]


def test_events_come_back_as_they_are():
    events = numbered(np.arange(5))
    assert as_events(events) is events


def test_a_polarity_that_is_no_bit_becomes_one():
    events = numbered(np.arange(3))
    events["p"] = [0, 255, 7]
    assert as_events(events)["p"].tolist() == [0, 1, 1]


def test_a_missing_field_is_named():
    with pytest.raises(DataError, match=r"^events: no field y, p among x, t$"):
        as_events(np.zeros(3, dtype=[("x", int), ("t", int)]))


@pytest.mark.parametrize(
    ("recording", "found"),
    [
        (np.zeros((3, 4)), r"an array of float64 of shape \[3, 4\]"),
        ([[0, 0, 0, 0]], "list"),
        ({"x": [1]}, "dict"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_what_is_no_structured_array_is_refused(recording, found):
    with pytest.raises(DataError, match=f"^events: {found} is no structured array of x, y, t and p; make_events makes"):
        as_events(recording)


def test_times_in_floats_are_no_microseconds():
    with pytest.raises(DataError, match=r"^events: t holds float64, not whole microseconds$"):
        as_events(np.zeros(3, dtype=[("x", int), ("y", int), ("t", float), ("p", int)]))


def test_a_field_of_several_numbers_is_refused():
    recording = np.zeros(2, dtype=[("x", int, 2), ("y", int), ("t", int), ("p", int)])
    with pytest.raises(DataError, match=r"events: x has the shape \[2, 2\]"):
        as_events(recording)


@given(TIMES)
def test_sorting_is_stable_and_loses_nothing(times):
    ordered = sort_by_time(numbered(times))
    assert ordered["x"].tolist() == sorted(range(len(times)), key=lambda i: times[i])
    assert ordered["t"].tolist() == sorted(times.tolist())


@given(TIMES, st.integers(0, 50), st.integers(0, 50))
def test_slices_are_half_open_and_add_up(times, start, stop):
    start, stop = sorted((start, stop))
    events = sort_by_time(numbered(times))
    parts = [slice_by_time(events, 0, start), slice_by_time(events, start, stop), slice_by_time(events, stop, 51)]
    assert np.array_equal(np.concatenate(parts), events)
    assert parts[1]["t"].tolist() == [t for t in sorted(times.tolist()) if start <= t < stop]


def test_a_slice_is_a_view():
    events = numbered(np.arange(5))
    assert np.shares_memory(slice_by_time(events, 1, 3), events)


@pytest.mark.parametrize(
    ("start", "stop", "kept"),
    [(-(2**63), 2**63, [0, 1, 2]), (-(2**63), 2**63 - 1, [0, 1]), (2**63 - 1, 2**63, [2]), (4, 4, []), (5, 4, [])],
)
def test_slices_reach_to_the_ends_of_64_bits(start, stop, kept):
    events = numbered(np.array([-(2**63), 4, 2**63 - 1], dtype=np.int64))
    assert slice_by_time(events, start, stop)["x"].tolist() == kept


def test_events_off_the_sensor_are_dropped():
    events = make_events([0, 3, 4, -1, 0, 0], [0, 2, 0, 0, 3, -1], range(6), [1] * 6)
    assert inside(events, width=4, height=3)["t"].tolist() == [0, 1]
