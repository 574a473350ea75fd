"""Tables and named arrays: which column is which, and the unit of time."""

from itertools import permutations

import numpy as np
import pytest

from quietspike.core import OptionError
from quietspike.datasets.formats.columns import Layout

EVENTS = [(3, 4, 1_000_000, 1), (5, 6, 1_000_010, 0), (7, 8, 2_500_000, 1)]
TABLES = {
    ".npy": lambda write, table: write.npy(table),
    ".npz": lambda write, table: write.npz(events=table),
    ".h5": lambda write, table: write.h5({"events": table}),
    ".txt": lambda write, table: write.text_lines(*(" ".join(map(str, row)) for row in table.tolist())),
}
NAMED = {
    ".npy": lambda write, arrays: write.npy(np.rec.fromarrays(list(arrays.values()), names=list(arrays))),
    ".npz": lambda write, arrays: write.npz(**arrays),
    ".h5": lambda write, arrays: write.h5(arrays),
}
each_table = pytest.mark.parametrize("suffix", TABLES)
each_named = pytest.mark.parametrize("suffix", NAMED)


@each_table
@pytest.mark.parametrize("order", ["".join(order) for order in permutations("txyp")][::5])
def test_any_order_of_columns(write, read, suffix, order):
    assert read(TABLES[suffix](write, write.table(EVENTS, order)), suffix, columns=order)[0] == EVENTS


@each_table
def test_the_default_order_is_txyp(write, read, suffix):
    assert read(TABLES[suffix](write, write.table(EVENTS, "txyp")), suffix)[0] == EVENTS


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_four_rows_are_read_as_four_columns(write, read, suffix):
    assert read(TABLES[suffix](write, write.table(EVENTS).T), suffix)[0] == EVENTS


def test_four_rows_of_four_are_events(write, read):
    events = [*EVENTS, (9, 9, 9, 1)]
    assert read(write.npy(write.table(events)), ".npy")[0] == events


@pytest.mark.parametrize(("unit", "text"), [(1000, "1000"), (1e6, "1"), (0.001, "1000000000")])
def test_units_of_time(write, read, unit, text):
    assert read(f"{text} 3 4 1\n".encode(), ".txt", unit_us=unit)[0] == [(3, 4, 1_000_000, 1)]


@each_named
def test_seconds_are_rounded_to_microseconds(write, read, suffix):
    arrays = write.named(EVENTS)
    arrays["t"] = arrays["t"] / 1e6
    assert read(NAMED[suffix](write, arrays), suffix, unit_us=1e6)[0] == EVENTS


@each_named
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_fractions_without_a_unit_are_refused(write, read, refused, suffix, kind):
    arrays = write.named(EVENTS)
    arrays["t"] = (arrays["t"] / 1e6).astype(kind)
    reason = "events: t holds fractions of its unit; say unit_us, the microseconds of one"
    assert refused(NAMED[suffix](write, arrays), suffix) == (reason, None)
    arrays["t"] = np.array([1, 2, 3], kind)  # whole ones are none
    assert [t for _, _, t, _ in read(NAMED[suffix](write, arrays), suffix)[0]] == [1, 2, 3]


@each_named
@pytest.mark.parametrize(
    "names", ["x y t p", "X Y T P", "xs ys ts ps", "x_pos y_pos timestamp pol", "x y time polarity"]
)
def test_names_of_columns(write, read, suffix, names):
    arrays = dict(zip(names.split(), write.columns(EVENTS), strict=True))
    assert read(NAMED[suffix](write, arrays), suffix)[0] == EVENTS


@each_named
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.float32, np.bool_, ">i4"])
def test_any_numbers(write, read, suffix, kind):
    arrays = {name: column.astype(kind) for name, column in write.named([(1, 0, 1, 1), (0, 1, 1, 0)]).items()}
    assert read(NAMED[suffix](write, arrays), suffix)[0] == [(1, 0, 1, 1), (0, 1, 1, 0)]


@each_named
def test_a_polarity_of_minus_one_is_off(write, read, suffix):
    arrays = write.named(EVENTS)
    arrays["p"] = arrays["p"] * 2 - 1
    assert read(NAMED[suffix](write, arrays), suffix)[0] == EVENTS


@each_named
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"p": None}, "no p or ps or pol or polarity among its arrays (t, x, y)"),
        ({"x": [1, 2, 40_000]}, "events: x from 1 to 40000 does not fit into 16 bits, the first at event 3"),
        ({"t": [1.0, 2.0, np.inf]}, "events: t holds numbers that are not finite"),
        ({"y": [1j, 2j, 3j]}, "events: y holds complex128, not numbers of at most 64 bits"),
    ],
)
def test_what_is_no_column_is_refused(write, refused, suffix, changed, reason):
    arrays = {**write.named(EVENTS), **{name: np.array(values) for name, values in changed.items()}}
    arrays = {name: column for name, column in arrays.items() if column.shape}
    assert refused(NAMED[suffix](write, arrays), suffix) == (reason, None)


@each_table
@pytest.mark.parametrize("shape", [(0, 4), (3, 5), (5, 3), (1, 1)])
def test_a_table_of_other_shape_is_refused(write, refused, suffix, shape):
    reason, offset = refused(TABLES[suffix](write, np.ones(shape, dtype=np.int64)), suffix)
    assert reason.startswith(
        ("empty: no event", f"shape {list(shape)}, not four columns", "no lines of four numbers: line 1 is ")
    )
    assert offset == (0 if reason.startswith("no lines") else None)


@pytest.mark.parametrize("time", [1e300, np.nan, np.frombuffer(b"\1\0\x80\x7f", np.float32)[0]])
def test_times_that_are_not_finite_in_their_unit_are_refused(write, refused, time):
    arrays = {"x": [1], "y": [1], "t": np.array([time]), "p": [0]}
    assert refused(write.npz(**arrays), ".npz", unit_us=1e300) == ("events: t holds numbers that are not finite", None)


@each_table
def test_columns_in_another_order_are_refused_with_a_hint(write, refused, suffix):
    table = write.table(EVENTS, "xytp")
    reason = (
        "events: y from 1000000 to 2500000 does not fit into 16 bits, the first at event 1; is columns='txyp' right?"
    )
    assert refused(TABLES[suffix](write, table), suffix) == (reason, None)
    table = write.table([(x, y, 1000 * x, p) for x, y, _, p in EVENTS], "pyxt")
    reason = "events: p holds more than two values; is columns='txyp' right?"
    assert refused(TABLES[suffix](write, table), suffix) == (reason, None)
    assert refused(TABLES[suffix](write, write.table(EVENTS)), suffix, columns="ptxy")[0].endswith("'ptxy' right?")


@each_table
def test_two_polarities_of_any_values(write, read, suffix):
    table = write.table(EVENTS)
    table[:, 3] = [1, -1, 1]
    assert read(TABLES[suffix](write, table), suffix)[0] == EVENTS


@pytest.mark.parametrize("shape", [(-1, 1), (1, -1)])
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_columns_that_lie_in_a_table_as_matlabs_do(write, read, suffix, shape):
    columns = {name: column.reshape(shape) for name, column in write.named(EVENTS).items()}
    assert read(NAMED[suffix](write, columns), suffix)[0] == EVENTS


BESIDE = {
    "label": np.array("cat"),
    "number": np.array(7),
    "frames": np.zeros((4, 2, 8, 8)),
    "camera": np.eye(3),
}


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("kind", ["table", "structured", "named"])
def test_arrays_that_nobody_asks_for_are_left_alone(write, read, suffix, kind):
    beside = {name: array if array.dtype.kind != "U" or suffix == ".npz" else "cat" for name, array in BESIDE.items()}
    if suffix == ".npz":
        beside["info"] = np.array({"a": 1}, dtype=object)
    asked = {"table": {"rec": write.table(EVENTS)}, "structured": {"rec": write.structured(EVENTS)}}
    items = {**beside, **asked.get(kind, write.named(EVENTS))}
    if kind == "structured":
        items["projection"] = np.ones((3, 4))
    data = write.npz(**items) if suffix == ".npz" else write.h5(items)
    assert read(data, suffix)[0] == EVENTS


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_one_of_two_tables_is_not_guessed(write, refused, suffix):
    items = {"a": write.table(EVENTS), "b": write.table(EVENTS)}
    data = write.npz(**items) if suffix == ".npz" else write.h5(items)
    assert refused(data, suffix) == ("no x or xs or x_pos among its arrays (a, b)", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "txy"}, "columns='txy': must hold each of x, y, t and p once, as 'txyp' does"),
        ({"columns": "txypp"}, "columns='txypp'"),
        ({"columns": ["t", "x", "y", "p"]}, "columns="),
        ({"unit_us": 0}, "unit_us=0"),
        ({"unit_us": float("nan")}, "unit_us=nan"),
        ({"unit_us": "1"}, "unit_us='1'"),
    ],
)
def test_a_bad_layout_is_named_with_its_value(options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        Layout(**options)
