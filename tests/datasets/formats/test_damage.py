"""Damaged and hostile files: one line says what is wrong, in which file and at which byte."""

import struct

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
