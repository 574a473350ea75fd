"""HDF5: what is read of a file, what is added to its times, and what lies outside of it."""

import io
import os
import sys

import h5py
import numpy as np
import pytest

EVENTS = [(3, 4, 1_000_000, 1), (5, 6, 1_000_010, 0), (7, 8, 2_500_000, 1)]


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
