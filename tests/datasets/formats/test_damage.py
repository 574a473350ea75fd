"""Damaged and hostile files: one line says what is wrong, in which file and at which byte."""

import io
import struct
import time
import zipfile

import h5py
import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.datasets.recordings import read_recording

EVENTS = [(3, 4, 10, 1), (5, 6, 12, 0), (7, 8, 15, 1)]


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"gone\.dat: cannot be read: No such file or directory$"):
        read_recording(tmp_path / "gone.dat")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory$"):
        read_recording(tmp_path.rename(tmp_path.with_suffix(".bin")))


# formats of records


RECORDS = {
    "aedat2": (".aedat", lambda write, events: write.aedat2(events), 8),
    "bin": (".bin", lambda write, events: write.atis_bin(events), 5),
    "bs2": (".bs2", lambda write, events: write.atis_bin(events), 5),
    "dat": (".dat", lambda write, events: write.dat(events), 8),
    "evt2": (".raw", lambda write, events: write.evt2(events), 4),
    "evt3": (".raw", lambda write, events: write.evt3(events), 2),
}
each_record = pytest.mark.parametrize("name", RECORDS)


@each_record
def test_a_file_that_ends_inside_a_record(write, refused, name):
    suffix, encode, size = RECORDS[name]
    data = encode(write, EVENTS)
    for missing in range(1, size):
        reason = f"ends inside an event: {size - missing} of {size} bytes"
        assert refused(data[:-missing], suffix) == (reason, len(data) - size)


@each_record
def test_a_file_of_no_records(write, refused, name):
    suffix, encode, _ = RECORDS[name]
    data = encode(write, [])
    assert refused(data, suffix) == ("empty: no event", len(data))


@pytest.mark.parametrize(
    "suffix", [".aedat", ".aedat4", ".bin", ".bs2", ".dat", ".raw", ".npy", ".npz", ".h5", ".txt", ".csv"]
)
def test_an_empty_file(refused, suffix):
    assert refused(b"", suffix)[1] == (None if suffix in (".npz", ".h5", ".txt", ".csv") else 0)


def test_bin_of_overflows_alone(write, refused):
    assert refused(write.atis_bin([(0, 240, 0, 0)] * 2), ".bin") == ("empty: 2 clock overflows and no event", 0)


@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [
        (1, 8, "events of type 1 and 8 bytes, not 0 and 8"),
        (12, 16, "events of type 12 and 16 bytes, not 0 and 8"),
    ],
)
def test_dat_of_other_events(write, refused, kind, size, reason):
    data = write.dat([])[:-2]
    assert refused(data + bytes([kind, size]), ".dat") == (reason, len(data))
    assert refused(data + bytes([kind]), ".dat") == ("ends before the events' type and size", len(data))


def test_raw_without_a_time(write, refused):
    header = write.evt_header(3)
    assert refused(header + write.words3(7, 0x2805), ".raw") == ("empty: no event with a time", len(header))


@pytest.mark.parametrize(
    ("first", "shown"),
    [
        (b"#!AER-DAT1.0\r\n", "#!AER-DAT1.0"),
        (b"#!AER-DAT3.0\r\n", "#!AER-DAT3.0"),
        (b"# no version\n", "# no version"),
        (b"\0\1\2", ""),
        (b"#" * 5000, ""),
    ],
)
def test_aedat_of_no_version_that_is_read(refused, first, shown):
    assert refused(first, ".aedat") == (f"not AEDAT 2.0, 3.1, 4.0: the first line is {shown!r}", 0)


def test_aedat2_of_an_unknown_chip(write, refused):
    reason, offset = refused(write.aedat2(EVENTS, "DVXplorer"), ".aedat")
    assert reason.startswith(
        "the chip 'eu.seebetter.ini.chips.davis.DVXplorer' is none of dvs128, tmpdiff128, davis240"
    )
    assert offset == 0


# packets


@pytest.mark.parametrize(
    ("damage", "reason", "back"),
    [
        (lambda data: data[:-1], "ends inside a packet of 3 events of 8 bytes", 52),
        (lambda data: data[:-24], "ends inside a packet of 3 events of 8 bytes", 52),
        (lambda data: data[:-25], "ends inside a packet's header of 28 bytes", 52),
        (lambda data: data + b"\0", "ends inside a packet's header of 28 bytes", 0),
        (lambda data: data[:-48] + struct.pack("<i", 0) + data[-44:], "no packet: 3 of 3 events of 0 bytes", 52),
        (lambda data: data[:-48] + struct.pack("<i", -8) + data[-44:], "no packet: 3 of 3 events of -8 bytes", 52),
        (
            lambda data: data[:-48] + struct.pack("<i", 4) + data[-44:],
            "no packet: events of polarity of 4 bytes, not 8",
            52,
        ),
        (lambda data: data[:-40] + struct.pack("<i", -1) + data[-36:], "no packet: 3 of 3 events of 8 bytes", 52),
        (lambda data: data[:-36] + struct.pack("<i", 2) + data[-32:], "no packet: 3 of 2 events of 8 bytes", 52),
        (lambda data: data[:-32] + struct.pack("<i", -1) + data[-28:], "no packet: -1 of 3 events of 8 bytes", 52),
        (
            lambda data: data[:-36] + struct.pack("<i", 2**31 - 1) + data[-32:],
            f"ends inside a packet of {2**31 - 1} events of 8 bytes",
            52,
        ),
    ],
)
def test_aedat3_packets(write, refused, damage, reason, back):
    data = write.aedat3(EVENTS * 2)
    assert refused(damage(data), ".aedat") == (reason, len(data) - back)


def test_aedat3_without_events_or_the_end_of_its_header(write, refused):
    header = write.header3
    assert refused(header, ".aedat") == ("empty: 0 events and none that is valid", len(header))
    packet = write.packet3(1, 8, bytes(16))
    assert refused(header + packet, ".aedat") == ("empty: 2 events and none that is valid", len(header))
    short = header.replace(b"#!END-HEADER\r\n", b"")
    assert refused(write.aedat3(EVENTS, short), ".aedat") == ("the header does not end with #!END-HEADER", len(short))


def last_packet(write, kind):
    return len(write.packet4(write.events4(EVENTS), kind))


each_compression = pytest.mark.parametrize("kind", range(5))


@each_compression
def test_aedat4_that_ends_inside_a_packet(write, refused, kind):
    data = write.aedat4(EVENTS * 2, kind)
    start = len(data) - last_packet(write, kind)
    size = len(data) - start - 8
    assert refused(data[:-1], ".aedat4") == (f"ends inside a packet of {size} bytes", start)
    assert refused(data[: start + 7], ".aedat4") == ("ends inside a packet's header of 8 bytes", start)
    assert refused(data[:start] + struct.pack("<ii", 0, -1), ".aedat4") == ("ends inside a packet of -1 bytes", start)


@each_compression
def test_aedat4_with_a_packet_that_is_none(write, refused, kind):
    data = write.aedat4(EVENTS, kind)
    for size in (0, 1, 3, 20):
        reason, offset = refused(data + struct.pack("<ii", 0, size) + b"\xfe" * size, ".aedat4")
        assert reason.startswith("a damaged packet: ")
        assert offset == len(data)


@pytest.mark.parametrize("kind", [1, 3])
def test_aedat4_with_a_compressed_packet_that_is_cut(write, refused, kind):
    data = write.aedat4(EVENTS, kind)
    packed = write.packet4(write.events4(EVENTS * 9), kind)[8:-6]
    reason, offset = refused(data + struct.pack("<ii", 0, len(packed)) + packed, ".aedat4")
    assert reason.startswith("a damaged packet: ")
    assert offset == len(data)


@pytest.mark.parametrize(
    ("position", "kind", "value"),
    [
        (0, "<I", 1 << 20),  # more bytes than there are
        (4, "<I", 1 << 31),  # a table out of the packet
        (12, "<H", 4),  # a table without fields has no events
        (16, "<H", 0x7FFF),  # a field out of the packet
        (20, "<i", -(1 << 20)),  # a list of fields out of it, behind
        (20, "<i", 1 << 20),  # and before
        (20, "<i", 20),  # or just before, which Python would count from the end
        (24, "<I", 1 << 31),  # a vector out of it
        (28, "<I", 1 << 30),  # more events than there are
    ],
)
def test_aedat4_offsets_that_lead_out_of_a_packet(write, refused, position, kind, value):
    packet = bytearray(write.events4(EVENTS))
    struct.pack_into(kind, packet, position, value)
    data = write.aedat4([])
    reason, offset = refused(data + write.packet4(bytes(packet)), ".aedat4")
    assert reason.startswith("a damaged packet: ") or (value, reason) == (4, "empty: no event")
    assert value != 20 or reason == "a damaged packet: an offset points out of it"
    assert offset == len(data)


def test_aedat4_polarities_are_0_and_1_whatever_the_byte(write, read):
    data = write.aedat4(EVENTS[:1])
    assert data.count(struct.pack("<qhh?", 10, 3, 4, True)) == 1
    assert (
        read(data.replace(struct.pack("<qhh?", 10, 3, 4, True), struct.pack("<qhhB", 10, 3, 4, 99)), ".aedat4")[0]
        == EVENTS[:1]
    )


def test_aedat4_headers(write, refused):
    magic, good = b"#!AER-DAT4.0\r\n", write.aedat4(EVENTS)
    assert refused(b"#!AER-DAT2.0\r\n", ".aedat4") == ("not AEDAT 4.0: no such first line", 0)
    assert refused(good[:17], ".aedat4")[1] == refused(good[:300], ".aedat4")[1] == 14
    for kind in (-1, 5):
        other = magic + write.flatbuffer(b"IOHE", ("<i", kind), ("<q", -1))
        assert refused(other, ".aedat4") == (f"a damaged header: compression {kind} is none of 0 to 4", 14)
    for end in (0, 1 << 40):
        other = magic + write.flatbuffer(b"IOHE", ("<i", 0), ("<q", end))
        reason = f"a damaged header: packets from {len(other)} to {end} of {len(other)} bytes"
        assert refused(other, ".aedat4") == (reason, len(other))
    assert refused(write.aedat4([]), ".aedat4") == ("empty: no event", len(write.aedat4([])))


# arrays


def npy(header, data=b"", version=1):
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def told(shape="(1, 4)", descr="'<i8'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize("version", [1, 2])
def test_npy_headers_of_both_versions_and_of_python_2(read, version):
    values = np.array([[9, 3, 4, 1]])
    assert read(npy(told(), values.tobytes(), version), ".npy")[0] == [(3, 4, 9, 1)]
    assert read(npy(told("(1L, 4L)"), values.tobytes(), version), ".npy")[0] == [(3, 4, 9, 1)]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"(" * 5000,
        b"__import__('os').abort()",
        told(descr="'<q9'"),
        told(descr="'|V0'").replace(b"|V0", b"\\d"),
        told("[1, 4]"),
        told("(1.0, 4)"),
        told("0(1, 4)"),
        b" " * 20_000,
    ],
    ids=lambda header: header[:30],
)
def test_npy_headers_that_are_none(refused, header):
    reason, offset = refused(npy(header, bytes(32)), ".npy")
    assert reason.startswith("no header of a .npy: ")
    assert offset == 0


@pytest.mark.parametrize(
    "header",
    [
        told("(2, 4)"),
        told(f"({1 << 40}, 4)"),
        told(f"({1 << 70}, 4)"),
        told("(0x" + "f" * 5000 + ", 4)"),  # of which Python shows no decimals
        told("(-1, 4)"),
        told("(-1, -4)"),
        told("(-5,)"),
        told(f"(0, {1 << 70})"),
        told("(" + "1, " * 70 + ")"),
        told(descr="'|V0'"),
        told(descr="'<U1000000'"),
        told("(1,)", descr="('<i8', (3,))"),
        told("(1,)", descr="[]"),
    ],
    ids=lambda header: header[10:60],
)
def test_npy_shapes_that_its_bytes_do_not_have(refused, header):
    data = npy(header, bytes(32))
    reason, offset = refused(data, ".npy")
    assert offset == (None if "not four columns" in reason else 0 if "no header" in reason else len(data) - 32)


def test_npy_of_other_numpys_versions(refused):
    assert refused(npy(told(), bytes(32), 3), ".npy")[0].startswith("no header of a .npy: ")
    assert refused(npy(told(), bytes(32), 9), ".npy")[0].startswith("no header of a .npy: ")


def test_npy_of_recordings_is_not_one(write, refused):
    boxed = np.empty(2, dtype=object)
    boxed[:] = [write.table(EVENTS), write.table(EVENTS[:1])]
    assert refused(write.npy(boxed, allow_pickle=True), ".npy") == ("2 arrays, not the events of one recording", None)


def test_names_with_line_ends_make_no_second_line(write, refused):
    assert refused(write.npy(np.zeros(2, [("a\nb", "i4")])), ".npy")[0].endswith("among its arrays (a b)")
    members = {"x\n y": [1], "a\u2028b": [2]}
    assert refused(write.npz(**members), ".npz")[0].endswith("among its arrays (a b, x y)")
    assert refused(write.h5({"a\nb": [1], "c" * 500: [2]}), ".h5")[0].startswith(
        "no x or xs or x_pos among its arrays (a b"
    )
    assert refused(zipped({"x\n y.npy": b"none"}), ".npz")[0].startswith("x y.npy: no header of a .npy: ")


# archives


def zipped(members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def test_npz_archives_that_are_none(write, refused):
    good = write.npz(np.savez, events=write.table(EVENTS))
    assert refused(good[:-30], ".npz") == ("a damaged archive: File is not a zip file", None)
    flipped = bytearray(good)
    flipped[good.index(b"NUMPY") + 150] ^= 1
    assert refused(bytes(flipped), ".npz") == ("a damaged archive: Bad CRC-32 for file 'events.npy'", None)
    locked = bytearray(good)
    locked[good.rindex(b"PK\1\2") + 8] |= 1
    assert refused(bytes(locked), ".npz")[0].startswith("a damaged archive: ")
    assert refused(zipped({"readme.txt": b"text"}), ".npz") == ("empty: no array", None)
    assert refused(zipped({}), ".npz") == ("empty: no array", None)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_npz_of_other_compression_is_not_unpacked(write, refused, kind):
    data = zipped({"a.txt": b"", "events.npy": write.npy(write.table(EVENTS))}, compression=kind)
    assert refused(data, ".npz") == ("compressed as numpy compresses none", data.index(b"PK\3\4", 4))


def test_npz_of_objects_is_refused(write, refused):
    boxed = np.empty(1, dtype=object)
    boxed[0] = write.table(EVENTS)
    assert refused(write.npz(np.savez, a=boxed), ".npz") == ("a.npy is of objects", 0)


# HDF5


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


# what would take all memory

MOST = 1 << 20


@pytest.fixture
def limited(monkeypatch):
    monkeypatch.setattr("quietspike.datasets.formats.content.MOST_BYTES", MOST)
    monkeypatch.setattr("quietspike.datasets.formats.content._MOST_RATIO", 4)


def test_an_archive_that_unpacks_to_too_much(write, refused, limited, little_memory):
    zeros = np.zeros(MOST // 2 - 200, np.uint8)  # two fit
    data = write.npz(x=zeros, y=zeros, t=zeros, p=zeros)
    assert refused(data, ".npz") == (f"unpacks to more than {MOST} bytes", data.index(b"t.npy") - 30)


def test_an_archive_is_unpacked_no_further_than_its_arrays_go(write, read, refused, little_memory):
    """What is announced is known before it is unpacked, and what is more than that is left alone."""
    zeros = bytes(100 << 20)
    none = zipped({"x.npy": zeros}, compression=zipfile.ZIP_DEFLATED)
    little = zipped({"x.npy": npy(told(f"({1 << 30}, 4)"), zeros[:100])}, compression=zipfile.ZIP_DEFLATED)
    much = zipped({"x.npy": npy(told(f"({1 << 24}, 4)"), zeros[:100])}, compression=zipfile.ZIP_DEFLATED)
    behind = zipped({"x.npy": write.npy(write.table(EVENTS)) + zeros}, compression=zipfile.ZIP_DEFLATED)
    with little_memory():
        assert refused(none, ".npz")[0].startswith("x.npy: no header of a .npy: ")
        assert refused(little, ".npz") == (f"unpacks to more than {1 << 31} bytes", 0)
        reason, offset = refused(much, ".npz")
        assert read(behind, ".npz")[0] == EVENTS
    start = len(npy(told(f"({1 << 24}, 4)")))
    bytes_told = start + (1 << 29)
    assert reason == f"x.npy: not the array that its header tells of: {bytes_told} bytes, and {start + 100} are there"
    assert offset == start


each_packed = pytest.mark.parametrize("kind", [1, 3])


def bulky(write, size, kind, identifier=b"EVTS"):
    """A packet of so many bytes more than the size in front of them tells of, and of no event."""
    return write.packet4(write.flatbuffer(identifier, None).ljust(size, b"\0"), kind)


@each_packed
def test_packets_that_unpack_to_too_much(write, refused, limited, little_memory, kind):
    start = len(write.aedat4([], kind))
    packet = bulky(write, MOST // 2, kind)
    data = write.aedat4(EVENTS, kind, packets=[packet] * 3)
    assert refused(data, ".aedat4") == (f"unpacks to more than {MOST} bytes", start + 2 * len(packet))
    data = write.aedat4(EVENTS, kind, packets=[bulky(write, 100 << 20, kind)])
    with little_memory():
        assert refused(data, ".aedat4") == (f"unpacks to more than {max(MOST, 4 * len(data))} bytes", start)


@each_packed
def test_packets_of_images_are_not_unpacked(write, read, limited, little_memory, kind):
    data = write.aedat4(EVENTS, kind, packets=[bulky(write, 10 << 20, kind, b"FRME")] * 9)
    with little_memory():
        assert read(data, ".aedat4")[0] == EVENTS


def test_stored_packets_may_be_of_any_length(write, read, monkeypatch):
    monkeypatch.setattr("quietspike.datasets.formats.content.MOST_BYTES", 1000)
    assert len(read(write.aedat4(EVENTS * 1000, 0, per_packet=100), ".aedat4")[0]) == 3000


def test_a_large_file_may_unpack_to_more_than_a_small_one(write, read, refused, monkeypatch):
    monkeypatch.setattr("quietspike.datasets.formats.content.MOST_BYTES", 1000)
    events = [(k * 7919 % 346, k * 104_729 % 260, k * k % 99_991, k % 2) for k in range(2000)]
    for kind in (1, 3):
        data = write.aedat4(events, kind, per_packet=200)
        assert read(data, ".aedat4")[0] == events
    for suffix, data in {
        ".npz": write.npz(events=write.table(events)),
        ".h5": write.h5(write.named(events), compression="gzip"),
    }.items():
        assert read(data, suffix)[0] == events


def announced(shape, dtype="u1", **options):
    """Data sets of which nothing was ever written."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in "xytp":
            file.create_dataset(name, shape, dtype, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"chunks": (1 << 20,)}, {"chunks": True, "compression": "gzip"}], ids=str)
def test_h5_columns_that_announce_too_much(refused, little_memory, options):
    for number, reason in (
        (1 << 30, f"{1 << 32} bytes, more than {1 << 31}"),
        (1 << 28, "/x announces more than it holds"),
    ):
        data = announced((number,), **options)
        with little_memory():
            assert refused(data, ".h5") == (reason, None)


def test_h5_columns_that_unpack_to_too_much(write, refused, limited):
    packed = write.h5(dict.fromkeys("xytp", np.zeros(MOST // 2, np.uint8)), compression="gzip")
    assert len(packed) < MOST // 4
    assert refused(packed, ".h5") == (f"{2 * MOST} bytes, more than {MOST}", None)


def test_npy_that_announces_too_much(refused, little_memory):
    with little_memory():
        assert refused(npy(told(f"({1 << 32}, 4)"), bytes(32)), ".npy")[0].startswith("not the array that its header")
