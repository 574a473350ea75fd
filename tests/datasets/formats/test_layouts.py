"""Tables and named arrays: which column is which, and the unit of time."""

import io
import os
from itertools import permutations

import h5py
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
    assert refused(NAMED[suffix](write, arrays), suffix) == (reason, 0)
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
        ({"x": [1, 2, 40_000]}, "events: x from 1 to 40000 does not fit into 16 bits"),
        ({"t": [1.0, 2.0, np.inf]}, "events: t holds numbers that are not finite"),
        ({"y": [1j, 2j, 3j]}, "events: y holds complex128, not numbers of at most 64 bits"),
    ],
)
def test_what_is_no_column_is_refused(write, refused, suffix, changed, reason):
    arrays = {**write.named(EVENTS), **{name: np.array(values) for name, values in changed.items()}}
    arrays = {name: column for name, column in arrays.items() if column.shape}
    if suffix == ".h5" and "y" in changed:
        reason = "no y or ys or y_pos among its arrays (p, t, x)"
    assert refused(NAMED[suffix](write, arrays), suffix) == (reason, 0)


@each_table
@pytest.mark.parametrize("shape", [(0, 4), (3, 5), (5, 3), (1, 1)])
def test_a_table_of_other_shape_is_refused(write, refused, suffix, shape):
    reason, offset = refused(TABLES[suffix](write, np.ones(shape, dtype=np.int64)), suffix)
    assert reason.startswith(("empty: no event", f"shape {list(shape)}, not four columns", f"lines of {shape[1]} num"))
    assert offset == 0


@pytest.mark.parametrize("time", [1e300, np.nan, np.frombuffer(b"\1\0\x80\x7f", np.float32)[0]])
def test_times_that_are_not_finite_in_their_unit_are_refused(write, refused, time):
    arrays = {"x": [1], "y": [1], "t": np.array([time]), "p": [0]}
    assert refused(write.npz(**arrays), ".npz", unit_us=1e300) == ("events: t holds numbers that are not finite", 0)


def test_text_skips_remarks_and_empty_lines(read):
    assert read(b"# t x y p\n\n10 3 4 1 # first\r\n\t12  5 6 0", ".txt")[0] == [(3, 4, 10, 1), (5, 6, 12, 0)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "empty: no event"),
        (b"# t x y p\n", "empty: no event"),
        (b"1 2 3 1\n1 2 3\n", "no lines of four numbers: "),
        (b"0.5 2 3 1\n", "no lines of four numbers: "),
        (b"1,2,3,1\n", "no lines of four numbers: "),
        (b"99999999999999999999 2 3 1\n", "no lines of four numbers: "),
        (b"1 2 3 one\n", "no lines of four numbers: "),
        (b"1 2 3\n" * 4, "lines of 3 numbers, not four"),
        (b"\xff\xfe1\0 \0", "no lines of four numbers: "),
    ],
)
def test_other_text_is_refused(refused, text, reason):
    found, offset = refused(text, ".txt")
    assert found.startswith(reason)
    assert offset == 0


@pytest.mark.parametrize("kind", [np.uint32, np.int64])
def test_h5_adds_an_offset_of_time(write, read, kind):
    items = {**write.named(EVENTS, "events/"), "t_offset": kind(10**9), "ms_to_idx": np.arange(9)}
    assert read(write.h5(items), ".h5")[0] == [(x, y, t + 10**9, p) for x, y, t, p in EVENTS]


def test_h5_prefers_the_events_of_change_detection(write, read):
    items = {"CD/events": write.structured(EVENTS), **write.named(EVENTS[:1], "events/"), **write.named(EVENTS[1:])}
    assert read(write.h5(items), ".h5")[0] == EVENTS
    del items["CD/events"]
    assert read(write.h5(items), ".h5")[0] == EVENTS[:1]


def test_h5_leaves_out_what_is_no_column(write, read):
    items = {**write.named(EVENTS), "image": np.ones((2, 2)), "note": "text", "group/x": [1]}
    assert read(write.h5(items), ".h5")[0] == EVENTS


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


# what lies outside of the file


@pytest.fixture
def secret(tmp_path, write):
    path = tmp_path / "secret.h5"
    path.write_bytes(write.h5(write.named(EVENTS, "events/")))
    return path


def linked(build):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        build(file)
    return stream.getvalue()


def test_h5_links_to_another_file_are_not_followed(secret, refused):
    def build(file):
        file["events"] = h5py.ExternalLink(str(secret), "events")

    assert refused(linked(build), ".h5") == ("no x or xs or x_pos among its arrays (none)", 0)


def test_h5_columns_of_another_file_are_not_read(secret, refused):
    def build(file):
        for name in "xytp":
            virtual = h5py.VirtualLayout((3,), dtype="i8")
            virtual[:] = h5py.VirtualSource(str(secret), f"events/{name}", (3,))
            file.create_virtual_dataset(name, virtual)

    assert refused(linked(build), ".h5") == ("/p lies in another file, or is none of numbers", 0)


def test_h5_does_not_read_the_bytes_of_another_file(secret, refused):
    def build(file):
        for name in "xytp":
            file.create_dataset(name, (3,), "u1", external=[(os.fspath(secret), 0, 3)])

    assert refused(linked(build), ".h5") == ("/p lies in another file, or is none of numbers", 0)
