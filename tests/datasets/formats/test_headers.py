"""What headers tell: versions, chips and sizes, and where the events begin."""

import struct

import pytest

from quietspike.core import UnknownNameError
from quietspike.datasets.formats.content import Content
from quietspike.datasets.recordings import read_content, read_recording

EVENTS = [(3, 4, 10, 1), (5, 6, 12, 0)]
INFO = """<dv version="2.0"><node name="outInfo"><node name="0"><node name="info">
<attr key="sizeX">346</attr><attr key="sizeY">260</attr></node></node></node></dv>"""


@pytest.mark.parametrize(
    ("chip", "address", "x", "y", "p", "size"),
    [
        # DVS128: y, 7 bits of x and a bit that is 0 for ON; from the lower right corner
        ("ch.unizh.ini.jaer.chip.retina.DVS128", 0, 127, 127, 1, (128, 128)),
        ("ch.unizh.ini.jaer.chip.retina.Tmpdiff128", 127 << 8 | 127 << 1 | 1, 0, 0, 0, (128, 128)),
        (None, 100 << 8 | 27 << 1, 100, 27, 1, (128, 128)),
        # DAVIS: 9 bits of y, 10 of x and a bit that is 1 for ON
        ("eu.seebetter.ini.chips.sbret10.SBret10", 179 << 22 | 239 << 12 | 1 << 11, 0, 0, 1, (240, 180)),
        ("eu.seebetter.ini.chips.davis.DAVIS240C", 1 << 22 | 2 << 12, 237, 178, 0, (240, 180)),
        ("eu.seebetter.ini.chips.davis.Davis346blue", 1 << 22 | 2 << 12, 343, 258, 0, (346, 260)),
        ("eu.seebetter.ini.chips.davis.Davis640", 1 << 22 | 2 << 12, 637, 478, 0, (640, 480)),
        # of no name, the smallest DAVIS that has the pixel
        (None, 179 << 22 | 239 << 12, 0, 0, 0, (240, 180)),
        (None, 180 << 22 | 1 << 12, 344, 79, 0, (346, 260)),
        (None, 1 << 22 | 346 << 12, 293, 478, 0, (640, 480)),
    ],
)
def test_an_aedat2_address_depends_on_the_chip(read, chip, address, x, y, p, size):
    named = f"# AEChip: {chip}\r\n" if chip else ""
    data = f"#!AER-DAT2.0\r\n{named}#End of Preferences\r\n".encode() + struct.pack(">II", address, 7)
    assert read(data, ".aedat") == ([(x, y, 7, p)], size)


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({}, (1 << 15, 1 << 16, 1 << 31)),  # external events of a DVS128, and what it has no address for
        ({"chip": "Davis346", "size": (346, 260)}, (1 << 31, 1 << 31 | 5 << 22, 1 << 10)),  # images, inertia, triggers
    ],
)
def test_aedat2_records_of_no_pixel_are_left_out(write, read, refused, options, others):
    others = b"".join(struct.pack(">II", address, 11) for address in others)
    data = write.aedat2(EVENTS, **options)
    assert read(data[:-8] + others + data[-8:], ".aedat")[0] == EVENTS
    reason, offset = refused(data[:-16] + others, ".aedat")
    assert reason == "empty: 3 records and no event of a pixel"
    assert offset == len(data) - 16


def test_an_event_may_begin_as_a_line_of_the_header_does(write, read):
    row = 0x23 << 2  # its nine bits begin with those of '#'; a line's end follows at once, but after what is no text
    data = write.aedat2([], "Davis346", (346, 260)) + struct.pack(">II", row << 22, 0x0A0A)
    assert data[-8:-7] == b"#"
    assert read(data, ".aedat")[0] == [(345, 259 - row, 0x0A0A, 0)]


@pytest.mark.parametrize(("version", "width"), [(2, 4), (3, 2)])
def test_an_evt_header_ends_where_it_says(write, read, version, width):
    # The first word's low byte is the mark of a line, and a line's end follows.
    mark = b"%a\n\0" if width == 4 else b"%\n"
    words = {2: [8 << 28 | 1, 1 << 28 | 5 << 11 | 7], 3: [0x8000, 0x6000, 0x0007, 0x2805]}[version]
    body = mark + b"".join(word.to_bytes(width, "little") for word in words)
    assert read(write.evt_header(version) + body, ".raw")[0] == [(5, 7, 64 if version == 2 else 0, 1)]


def test_a_dat_header_ends_at_the_type(write, read):
    assert read(write.dat([(37, 2, 10, 1)], kind=0), ".dat")[0] == [(37, 2, 10, 1)]


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        (("% geometry 1280x720",), (1280, 720)),
        (("% format EVT2;height=480;width=640",), (640, 480)),
        (("% geometry 0x0",), None),
        (("% geometry 12800x72000",), None),
        (("% width=640",), None),
        ((), None),
    ],
)
def test_evt_sizes(write, read, lines, size):
    header = write.text_lines("% date 2020-09-25 07:48:29", "% evt 2.0", *lines, "% end")
    assert read(write.evt2(EVENTS, header), ".raw") == (EVENTS, size)


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("% evt 2.1", "2.1"),
        ("% format EVT21;height=720;width=1280", "21"),
        ("% evt 4.0", "4"),
        ("% note evt 3.0", "of no version"),
    ],
)
def test_other_versions_of_evt_are_refused(write, refused, line, version):
    data = write.evt3(EVENTS, header=write.text_lines(line, "% end"))
    assert refused(data, ".raw") == (f"a header of EVT {version}, neither 2.0 nor 3.0", 0)


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        (("height 240", "WIDTH  304"), (304, 240)),
        (("Height 240",), None),
        (("Height 0", "Width 0"), None),
        (("Height " + "1" * 5000, "Width 304"), None),
        (("Date 2017-10-31 11:29:21",), None),
    ],
)
def test_dat_sizes(write, read, lines, size):
    assert read(write.dat(EVENTS, lines=lines), ".dat") == (EVENTS, size)


@pytest.mark.parametrize(("version", "line"), [(1, "Version 1"), (2, "Version 2"), (2, "Version 3"), (2, "no version")])
def test_dat_versions(write, read, version, line):
    data = write.dat(EVENTS, version).replace(f"Version {version}".encode(), line.encode())
    assert read(data, ".dat")[0] == EVENTS


def test_aedat3_takes_valid_events_of_polarity_alone(write, read):
    event = struct.pack("<II", 7 << 17 | 5 << 2 | 1 << 1 | 1, 9)
    invalid = struct.pack("<II", 8 << 17 | 5 << 2 | 1 << 1, 10)
    packets = [
        write.packet3(0, 8, bytes(16)),  # special events
        write.packet3(3, 36, bytes(72)),  # inertia
        write.packet3(35, 1, b"#\n"),  # a packet that begins as a line of the header does
        write.packet3(1, 8, event + invalid + event, valid=2),
        write.packet3(1, 8, event + bytes(16), number=1, capacity=3),  # room that is not used
    ]
    assert read(write.aedat3([], packets=packets), ".aedat") == ([(7, 5, 9, 1)] * 3, (128, 128))


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ("#Source 1: DVS128", (128, 128)),
        ("#Source 1: DAVIS240C", (240, 180)),
        ("#-Source 0: DAVIS346Red", (346, 260)),
        ("#Source 2: DAVIS640", (640, 480)),
        ("#Source 1: Processor", None),
    ],
)
def test_aedat3_sizes(write, read, source, size):
    header = write.header3.replace(b"#Source 1: DVS128", source.encode())
    assert read(write.aedat3(EVENTS, header), ".aedat") == (EVENTS, size)


@pytest.mark.parametrize("kind", ["SerializedTS", "PNGFrames", "SerializedTS,PNGFrames"])
def test_aedat3_of_packed_packets_is_refused(write, read, refused, kind):
    header = write.header3.replace(b"RAW", kind.encode())
    reason = f"packets in the format {kind!r}, of which only RAW is read"
    assert refused(write.aedat3(EVENTS, header), ".aedat") == (reason, header.index(b"#Format"))
    for header in (write.header3.replace(b"RAW", b" raw "), write.header3.replace(b"#Format: RAW\r\n", b"")):
        assert read(write.aedat3(EVENTS, header), ".aedat") == (EVENTS, (128, 128))


def test_aedat4_gives_the_first_stream_of_events(write, read):
    frame = write.flatbuffer(b"FRME", (b"pixels", 6))
    packets = [
        write.packet4(frame, stream=0),
        write.packet4(write.events4(EVENTS[1:]), stream=7),
        write.packet4(write.events4([]), stream=2),
        write.packet4(write.flatbuffer(b"EVTS", None), stream=2),
        write.packet4(write.events4(EVENTS[:1]), stream=3),
    ]
    data = write.aedat4(EVENTS[1:], stream=3, packets=packets, table=b"no packet")
    assert read(data, ".aedat4") == (EVENTS, (346, 260))
    assert read(data, ".aedat") == (EVENTS, (346, 260))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<dv", "<<"),
        ("sizeX", "width"),
        ("346", "wide"),
        ("346", "-346"),
        ("346", "1" * 5000),
        ("346", "99999"),
        ('name="0"', 'name="1"'),
        ("<dv ", '<?xml version="1.0" encoding="no-such"?><dv '),
    ],
)
def test_aedat4_without_a_size(write, read, old, new):
    info = INFO.replace(old, new)
    assert read(write.aedat4(EVENTS, info=info), ".aedat4") == (EVENTS, (346, 260) if "xml" in new else None)


def test_a_suffix_in_capitals_is_one(write, tmp_path):
    path = tmp_path / "ONE.DAT"
    path.write_bytes(write.dat(EVENTS))
    assert read_recording(path).events.tolist() == read_recording(str(path)).events.tolist() == EVENTS


def test_an_unknown_suffix_comes_with_the_near_match():
    with pytest.raises(UnknownNameError, match=r"it: format: no '\.hdf'; did you mean '\.hdf5'\?"):
        read_content(Content("it", b""), ".hdf")
