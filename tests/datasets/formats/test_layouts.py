"""Tables and named arrays: which column is which, and the unit of time."""

import io
import os
import sys
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


def test_text_skips_remarks_and_empty_lines(read):
    assert read(b"# t x y p\n\n10 3 4 1 # first\r\n\t12  5 6 0", ".txt")[0] == [(3, 4, 10, 1), (5, 6, 12, 0)]


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        (b"", "empty: no event", None),
        (b"# t x y p\n", "empty: no event", None),
        (b"t,x,y,p\n", "empty: no event", None),
        (b"1 2 3 1\n1 2 3\n", "no lines of four numbers: line 2 is '1 2 3'", 8),
        (b"\xef\xbb\xbf1 2 3 1\n\n# 5\n1 2 3 1 5\n", "no lines of four numbers: line 4 is '1 2 3 1 5'", 16),
        (b"t x y p\r\n1 2 3 1\r\n1,,3,1\r\n", "no lines of four numbers: line 3 is '1,,3,1'", 18),
        (b"t x y p\n1 2 3 1\nt x y p\n", "no lines of four numbers: line 3 is 't x y p'", 16),
        (b"t x y 1\n1 2 3 1\n", "no lines of four numbers: line 1 is 't x y 1'", 0),
        (b"by hand, on Monday", "no lines of four numbers: line 1 is 'by hand, on Monday'", 0),
        (b"1 2 3 one\n", "no lines of four numbers: line 1 is '1 2 3 one'", 0),
        (b"1_000 2 3 1\n", "no lines of four numbers: line 1 is '1_000 2 3 1'", 0),
        (b"1 2 3\n" * 4, "no lines of four numbers: line 1 is '1 2 3'", 0),
        (b"\xff\xfe1\0 \0", "no lines of four numbers: line 1 is '\\\\xff\\\\xfe1\\x00 \\x00'", 0),
        (b"0.5 2 3 1\n", "events: t holds fractions of its unit; say unit_us, the microseconds of one; is colu", None),
        (b"1 2 3 1\n1 2.5 3 1\n", "events: x holds fractions, the first at event 2: 2.5; is columns=", None),
        (b"1 2 3 1\n1 2 nan 1\n", "events: y holds numbers that are not finite; is columns='txyp' right?", None),
        (b"99999999999999999999 2 3 1\n", "events: t from 1e+20 to 1e+20 does not fit into 64 bits", None),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_other_text_is_refused(refused, suffix, text, reason, offset):
    found, where = refused(text, suffix)
    assert found.startswith(reason)
    assert where == offset


@pytest.mark.parametrize(
    "text",
    [
        b"1000000,3,4,1\n1000010,5,6,0\n2500000,7,8,1\n",
        b"\xef\xbb\xbf1000000, 3, 4, 1\n1000010, 5, 6, 0\n2500000, 7, 8, 1",
        b"x,y,polarity,timestamp\r\n3,4,1,1000000\r\n5,6,0,1000010\r\n7,8,1,2500000\r\n",
        b"time column row sign\n1000000 3 4 1\n1000010 5 6 0\n2500000 7 8 1\n",
        b"1.000000e+06 3.0 4.0 1.0\n1.000010e+06 5.0 6.0 0.0\n2.500000e+06 7.0 8.0 1.0\n",
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_text_of_other_habits(read, suffix, text):
    assert read(text, suffix)[0] == EVENTS


def test_text_in_seconds(read):
    text = b"0.003811000 96 133 0\n0.003820001 96 133 1\n"
    assert read(text, ".txt", unit_us=1e6)[0] == [(96, 133, 3811, 0), (96, 133, 3820, 1)]


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


@pytest.mark.parametrize("kind", [np.uint32, np.int64])
def test_h5_adds_an_offset_of_time(write, read, kind):
    items = {**write.named(EVENTS, "events/"), "t_offset": kind(10**9), "ms_to_idx": np.arange(9)}
    assert read(write.h5(items), ".h5")[0] == [(x, y, t + 10**9, p) for x, y, t, p in EVENTS]


@pytest.mark.parametrize("offset", [1, np.array([1]), np.array([[1.0]])], ids=str)
@pytest.mark.parametrize("unit", [1, 1000])
def test_h5_offsets_are_in_the_unit_of_the_times(write, read, offset, unit):
    later = [(x, y, (t + 1) * unit, p) for x, y, t, p in EVENTS]
    for items in (write.named(EVENTS), {"events": write.structured(EVENTS)}, {"events": write.table(EVENTS)}):
        assert read(write.h5({**items, "t_offset": offset}), ".h5", unit_us=unit)[0] == later


def test_h5_offsets_and_times_in_seconds(write, read):
    items = {**write.named(EVENTS), "t_offset": 0.5}
    items["t"] = items["t"] / 1e6
    expected = [(x, y, t + 500_000, p) for x, y, t, p in EVENTS]
    assert read(write.h5(items), ".h5", unit_us=1e6)[0] == expected


@pytest.mark.parametrize(
    ("t", "offset"), [(np.uint64(2**63), np.int64(-(2**63))), (np.int64(-(2**63)), np.uint64(2**63)), (5, -5)]
)
def test_h5_offsets_that_lead_back_into_64_bits(write, read, t, offset):
    items = {**write.named(EVENTS[:1]), "t": [t], "t_offset": offset}
    assert read(write.h5(items), ".h5")[0] == [(3, 4, 0, 1)]


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (np.int64(2**63 - 10), f"events: t from {2**63 + 999_990} to {2**63 + 2_499_990} does not fit into 64 bits"),
        (np.uint64(2**64 - 1), f"events: t from {2**64 + 999_999} to {2**64 + 2_499_999} does not fit into 64 bits"),
        (0.5, "events: t holds fractions of its unit; say unit_us, the microseconds of one"),
        (np.nan, "events: t holds numbers that are not finite"),
        ([1, 2], "t_offset is not one number"),
        ("late", "t_offset is not one number"),
        (h5py.Empty("i8"), "t_offset is not one number"),
    ],
    ids=str,
)
def test_h5_offsets_that_are_none(write, refused, offset, reason):
    assert refused(write.h5({**write.named(EVENTS), "t_offset": offset}), ".h5") == (reason, None)


@pytest.mark.parametrize("shape", [(-1, 1), (1, -1)])
@each_named
def test_columns_that_lie_in_a_table_as_matlabs_do(write, read, suffix, shape):
    if suffix != ".npy":
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


def test_h5_does_not_open_what_it_does_not_need(secret, write, read):
    def build(file):
        for name, column in write.named(EVENTS).items():
            file[name] = column
        virtual = h5py.VirtualLayout((3,), dtype="i8")
        virtual[:] = h5py.VirtualSource(str(secret), "events/t", (3,))
        file.create_virtual_dataset("v", virtual)
        file.create_dataset("packed", data=np.arange(40), chunks=(7,), scaleoffset=0)

    assert read(linked(build), ".h5")[0] == EVENTS


@pytest.mark.parametrize("place", ["events", "x"])
def test_h5_data_sets_of_no_space(write, refused, place):
    items = {**(write.named(EVENTS) if place == "x" else {}), place: h5py.Empty("i8")}
    assert refused(write.h5(items), ".h5") == (f"/{place} is empty: no event", None)


def plugged(code):
    """An HDF5 file whose x is packed by a filter that is not part of HDF5."""

    def build(file):
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((3,))
        created.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
        item = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT64, h5py.h5s.create_simple((3,)), created)
        item.write_direct_chunk((0,), b"packed")
        for name in "ytp":
            file[name] = [1, 1, 1]

    return linked(build)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (32001, "/x is compressed with blosc; pip install hdf5plugin"),
        (32015, "/x is compressed with zstd; pip install hdf5plugin"),
        (40000, "/x is compressed with filter 40000; install its plugin for HDF5"),
    ],
)
def test_h5_filters_that_are_missing_are_named(refused, monkeypatch, code, reason):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    assert refused(plugged(code), ".h5") == (reason, None)


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


def linked(build, libver=None):
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=libver) as file:
        build(file)
    return stream.getvalue()


def test_h5_links_to_another_file_are_not_followed(secret, refused):
    def build(file):
        file["events"] = h5py.ExternalLink(str(secret), "events")

    assert refused(linked(build), ".h5") == ("no x or xs or x_pos among its arrays (none)", None)


@pytest.mark.parametrize("libver", [None, "latest"])
@pytest.mark.parametrize("place", ["", "events/", "CD/events/"])
def test_h5_columns_of_another_file_are_not_read(secret, refused, libver, place):
    def build(file):
        for name in "xytp":
            virtual = h5py.VirtualLayout((3,), dtype="i8")
            virtual[:] = h5py.VirtualSource(str(secret), f"events/{name}", (3,))
            file.create_virtual_dataset(place + name, virtual)

    assert refused(linked(build, libver), ".h5") == (f"/{place}x lies in another file, or is none of numbers", None)


def test_h5_does_not_read_the_bytes_of_another_file(secret, refused):
    def build(file):
        for name in "xytp":
            file.create_dataset(name, (3,), "u1", external=[(os.fspath(secret), 0, 3)])

    assert refused(linked(build), ".h5") == ("/x lies in another file, or is none of numbers", None)
