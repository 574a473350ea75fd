"""Damaged HDF5 files, of which libhdf5 itself would hang, crash or take all memory."""

import io
import struct
import time

import h5py
import numpy as np
import pytest

EVENTS = [(3, 4, 10, 1), (5, 6, 12, 0), (7, 8, 15, 1)]


def test_h5_files_that_are_none(write, refused):
    good = write.h5(write.named(EVENTS))
    for data in (good[:7], good[:100], good[:-1], good[:1000], b"\0" * 2000):
        reason, offset = refused(data, ".h5")
        assert reason.startswith("a damaged HDF5 file: ")
        assert offset is None
    assert refused(write.h5({}), ".h5") == ("no x or xs or x_pos among its arrays (none)", None)
    assert refused(write.h5({"events": np.zeros(0, [(name, "i4") for name in "xytp"])}), ".h5")[0] == "empty: no event"
    assert refused(write.h5({"events": 5}), ".h5") == ("shape [], not four columns", None)


def test_h5_with_a_list_of_free_places_in_a_circle(write, refused, little_memory):
    good = write.h5({"CD/events": write.structured(EVENTS)})
    heap = good.rindex(b"HEAP")
    data = bytearray(good)
    first, segment = struct.unpack_from("<QQ", data, heap + 16)
    struct.pack_into("<Q", data, segment + first, first)  # where the next one stands
    with little_memory():
        assert refused(bytes(data), ".h5") == ("a damaged HDF5 file: free places in a circle", heap)


def test_h5_with_lists_of_free_places_that_many_heaps_share(refused):
    """Each heap's list is followed once, and all of them together no longer than the file is."""
    places = 20_000
    head = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0])
    chain = np.append(np.arange(16, 8 * places + 8, 8), 1).astype("<u8").tobytes()  # where the next one stands
    heap = b"HEAP" + bytes(12) + struct.pack("<QQ", 8, 8)
    start = time.process_time()
    reason, offset = refused(head + chain + heap * places, ".h5")
    assert time.process_time() - start < 5  # a minute, if each were followed to its end
    assert reason == "a damaged HDF5 file: free places in a circle"
    assert offset in range(len(head + chain), len(head + chain) + 3 * len(heap))


def virtual(libver=None):
    """HDF5 with a heap of objects, which holds where a virtual column lies."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=libver) as file:
        for name in "ytp":
            file[name] = [1, 2, 3]
        for number in range(20):  # a header that goes on elsewhere
            file.attrs[f"{number}"] = "more"
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
        file.create_virtual_dataset("x", layout)
    return stream.getvalue()


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 2**64 - 16), (7, 2**64 - 23)])
def test_h5_with_an_object_that_takes_no_bytes(refused, index, size):
    data = bytearray(virtual())
    place = data.index(b"GCOL") + 16
    struct.pack_into("<HHIQ", data, place, index, 0, 0, size)
    assert refused(bytes(data), ".h5") == ("a damaged HDF5 file: a heap's object of no size", place)


@pytest.mark.parametrize("libver", [None, "latest"])
@pytest.mark.parametrize("place", range(10, 50, 2))
def test_h5_with_a_damaged_virtual_column(refused, libver, place):
    """HDF5 crashes on some of these when it opens the column."""
    data = bytearray(virtual(libver))
    place += data.index(b"other.h5\0x\0")
    data[place : place + 8] = bytes.fromhex("ed43356700000000")
    assert refused(bytes(data), ".h5") == ("/x lies in another file, or is none of numbers", None)


@pytest.mark.parametrize("libver", [None, "latest"])
def test_h5_with_addresses_of_other_sizes(write, refused, libver):
    data = bytearray(write.h5(write.named(EVENTS), libver=libver))
    place = 9 if libver else 13
    assert data[place : place + 2] == b"\x08\x08"
    data[place] = 4
    reason = "a damaged HDF5 file: addresses that do not have eight bytes"
    assert refused(bytes(data), ".h5") == (reason, place)


def test_h5_behind_a_user_block(write, read, refused):
    """Addresses are counted from the signature, and it is looked for where HDF5 does."""
    good = write.h5(write.named(EVENTS))
    assert read(bytes(1024) + good, ".h5")[0] == EVENTS
    assert refused(bytes(100) + good, ".h5") == ("a damaged HDF5 file: no signature", None)
    block = (b"\x89HDF\r\n\x1a\n" + bytes(7)).rjust(512, b"-")  # a signature where none is
    data = bytearray(block + virtual())
    data[data.index(b"other.h5") + 30] ^= 255
    assert refused(bytes(data), ".h5") == ("/x lies in another file, or is none of numbers", None)


def with_stored_size(data, column, size):
    """HDF5 with another number in the tree of chunks, as the stored size of a column's first one."""
    with h5py.File(io.BytesIO(data)) as file:
        stored = file[column].id.get_chunk_info(0).size
        node = file[column].id.get_chunk_info(0).byte_offset
    key = struct.pack("<IIQQ", stored, 0, 0, 0)  # its size, filters left out, and place in each dimension
    place = data.index(key + struct.pack("<Q", node))
    return data[:place] + struct.pack("<I", size) + data[place + 4 :]


@pytest.mark.parametrize("size", range(5))
@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True}], ids=str)
def test_h5_chunks_shorter_than_their_checksum(write, refused, options, size):
    good = write.h5(write.named(EVENTS, "events/"), chunks=(2,), fletcher32=True, **options)
    reason = "a damaged HDF5 file: /events/x has a chunk that is no longer than its checksum"
    assert refused(with_stored_size(good, "events/x", size), ".h5") == (reason, None)


def test_h5_checksums_of_what_unpacks(refused):
    """HDF5 would take them off what a damaged chunk unpacks to, however short."""
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((2,))
    created.set_fletcher32()
    created.set_deflate(4)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in "xytp":
            space = h5py.h5s.create_simple((2,))
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_I64LE, space, created).write(
                h5py.h5s.ALL, h5py.h5s.ALL, np.ones(2, np.int64)
            )
    reason, offset = refused(stream.getvalue(), ".h5")
    assert reason.endswith("has checksums of what it unpacks to, which are not read; write it anew")
    assert offset is None


def test_h5_filters_that_crash_on_damage_are_not_read(write, refused):
    data = write.h5(write.named(EVENTS), chunks=(2,), scaleoffset=0)
    reason, offset = refused(data, ".h5")
    assert reason.endswith(" is packed with scaleoffset, which is not read; write it anew with gzip")
    assert offset is None


@pytest.mark.parametrize(
    "options",
    [
        {"fletcher32": True},
        {"fletcher32": True, "compression": "gzip", "shuffle": True},
        {"compression": "lzf"},
        {"compression": "gzip", "shuffle": True},
    ],
    ids=str,
)
def test_h5_filters_that_are_read(write, read, options):
    assert read(write.h5(write.named(EVENTS), chunks=(2,), **options), ".h5")[0] == EVENTS
