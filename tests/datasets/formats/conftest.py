"""Writers of every format, from the published specifications; no reader's code has a part in them.

An event is a tuple (x, y, t, p), and x and y are counted from the upper left corner.
"""

import io
import itertools
import re
import struct
import tracemalloc
from contextlib import contextmanager
from types import SimpleNamespace

import h5py
import lz4.frame
import numpy as np
import pytest
import zstandard

from quietspike.core import DataError
from quietspike.datasets.events import EVENT
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.formats.content import Content
from quietspike.datasets.recordings import read_content

COLUMNS = {"x": "<i2", "y": "<i2", "t": "<i8", "p": "u1"}


def columns(events):
    return np.array(events, dtype=np.int64).reshape(-1, 4).T


def text_lines(*lines, end="\n"):
    return "".join(line + end for line in lines).encode()


# iniVation


def aedat2(events, chip="DVS128", size=(128, 128)):
    """https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html"""
    x, y, t, p = columns(events)
    x, y = size[0] - 1 - x, size[1] - 1 - y
    address = y << 8 | x << 1 | 1 - p if size == (128, 128) else y << 22 | x << 12 | p << 11
    named = [f"# AEChip: eu.seebetter.ini.chips.davis.{chip}"] if chip else []
    header = text_lines("#!AER-DAT2.0", "# This is a raw AE data file - do not edit", *named, end="\r\n")
    return header + np.stack([address, t & 0xFFFFFFFF], axis=1).astype(">u4").tobytes()


HEADER3 = text_lines(
    "#!AER-DAT3.1", "#Format: RAW", "#Source 1: DVS128", "#Start-Time: 2017-05-26 14:00:00", "#!END-HEADER", end="\r\n"
)


def packet3(kind, size, body, overflows=0, valid=None, number=None, capacity=None):
    number = len(body) // size if number is None else number
    capacity = number if capacity is None else capacity
    valid = number if valid is None else valid
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflows, capacity, number, valid) + body


def polarity3(events):
    """Packets of events of polarity; all events of one have the overflows of the clock in common."""
    for overflows, group in itertools.groupby(events, key=lambda event: event[2] >> 31):
        x, y, t, p = columns(list(group))
        pairs = np.stack([x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF], axis=1).astype("<u4")
        for start in range(0, len(pairs), 3):
            yield packet3(1, 8, pairs[start : start + 3].tobytes(), overflows)


def aedat3(events, header=HEADER3, packets=()):
    """https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html"""
    return b"".join([header, *packets, *polarity3(events)])


PACK4 = {
    0: bytes,
    1: lz4.frame.compress,
    2: lambda data: lz4.frame.compress(data, compression_level=9),
    3: zstandard.compress,
    4: lambda data: zstandard.compress(data, 12),
}
INFO4 = """<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">
<node name="{stream}" path="/mainloop/Recorder/outInfo/{stream}/">
<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/mainloop/Recorder/outInfo/{stream}/info/">
<attr key="sizeX" type="int">346</attr><attr key="sizeY" type="int">260</attr></node></node></node></dv>"""


def flatbuffer(identifier, *fields):
    """One table behind its size: None is a field left out, (format, number) a scalar, bytes and a length a vector.

    https://flatbuffers.dev/internals: the offsets of the fields stand in front of the table, vectors behind it.
    """
    table = 12 + -(-(4 + 2 * len(fields)) // 4) * 4
    data, slots, vectors = bytearray(table + 4), [], []
    for field in fields:
        slots.append(0)
        if field is None:
            continue
        kind, value = field if isinstance(field[0], str) else ("<I", 0)
        data.extend(bytes(-len(data) % struct.calcsize(kind)))
        slots[-1] = len(data) - table
        if isinstance(field[0], bytes):
            vectors.append((len(data), *field))
        data.extend(struct.pack(kind, value))
    inline = len(data) - table
    for position, content, length in vectors:
        data.extend(bytes((4 - len(data)) % 8))
        struct.pack_into("<I", data, position, len(data) - position)
        data.extend(struct.pack("<I", length) + content + b"\0")
    data.extend(bytes(-len(data) % 8))
    struct.pack_into(
        f"<II4sHH{len(slots)}H", data, 0, len(data) - 4, table - 4, identifier, 4 + 2 * len(slots), inline, *slots
    )
    struct.pack_into("<i", data, table, table - 12)
    return bytes(data)


def packet4(data, compression=0, stream=0):
    packed = PACK4[compression](data)
    return struct.pack("<ii", stream, len(packed)) + packed


def events4(events):
    x, y, t, p = columns(events)
    items = b"".join(struct.pack("<qhh?3x", *event) for event in zip(t, x, y, p, strict=True))
    return flatbuffer(b"EVTS", (items, len(events)))


def aedat4(events, compression=0, per_packet=3, stream=0, info=INFO4, packets=(), table=b""):
    """https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html"""
    groups = [events[start : start + per_packet] for start in range(0, len(events), per_packet)]
    body = b"".join([*packets, *(packet4(events4(group), compression, stream) for group in groups)])
    info = info.format(stream=stream).encode()

    def header(end):
        return b"#!AER-DAT4.0\r\n" + flatbuffer(b"IOHE", ("<i", compression), ("<q", end), (info, len(info)))

    end = len(header(0)) + len(body) if table else -1
    return header(end) + body + table


# Prophesee


def dat(events, version=2, lines=("Width 640", "Height 480"), kind=12):
    """https://docs.prophesee.ai/stable/data/file_formats/dat.html"""
    x, y, t, p = columns(events)
    address = x | y << 14 | p << 28 if version >= 2 else x | y << 9 | p << 17
    header = text_lines("% Data file containing CD events.", f"% Version {version}", *(f"% {line}" for line in lines))
    return header + bytes([kind, 8]) + np.stack([t & 0xFFFFFFFF, address], axis=1).astype("<u4").tobytes()


def evt_header(version, *lines):
    return text_lines("% camera_integrator_name Prophesee", f"% evt {version}.0", *lines, "% end")


def evt2(events, header=None):
    """https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html"""
    words, high = [], None
    for x, y, t, p in events:
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high & 0xFFFFFFF)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return (evt_header(2, "% geometry 640x480") if header is None else header) + np.array(words, "<u4").tobytes()


def times3(t, before):
    """Words that change the time to t; after TIME_HIGH there is always a TIME_LOW."""
    if before is None or t >> 12 != before >> 12:
        return [8 << 12 | t >> 12 & 0xFFF, 6 << 12 | t & 0xFFF]
    return [] if t == before else [6 << 12 | t & 0xFFF]


def vectors3(columns, p):
    """Words for one row's ascending columns of one polarity: a base, then masks of 12, 12 and 8 pixels."""
    words, left = [], list(columns)
    while left:
        base = first = left[0]
        words.append(3 << 12 | p << 11 | first)
        for kind, width in ((4, 12), (4, 12), (5, 8)):
            words.append(kind << 12 | sum(1 << x - base for x in left if base <= x < base + width))
            base += width
        left = [x for x in left if x >= first + 32]
    return words


def evt3(events, vectors=False, header=None):
    """https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html"""
    words, before, row = [], None, None
    for (y, t, p), group in itertools.groupby(events, key=lambda event: event[1:]):
        words += times3(t, before)
        words += [y] if y != row else []
        before, row = t, y
        run = []
        for x, *_ in [*group, (-1,)]:
            if run and x <= run[-1]:
                words += vectors3(run, p)
                run = []
            if vectors:
                run.append(x)
            elif x >= 0:
                words.append(2 << 12 | p << 11 | x)
    return (evt_header(3, "% format EVT3;height=720;width=1280") if header is None else header) + words3(*words)


def words3(*words):
    return np.array(words, "<u2").tobytes()


# others


def atis_bin(events):
    """Orchard et al. 2015: 40 bits an event."""
    x, y, t, p = columns(events)
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1).astype(np.uint8).tobytes()


def structured(events, names="xytp"):
    return np.array(
        [tuple(event) for event in events], [(name, kind) for name, kind in zip(names, COLUMNS.values(), strict=True)]
    )


def table(events, order="txyp", dtype=np.int64):
    return np.stack([columns(events)["xytp".index(column)] for column in order], axis=1).astype(dtype)


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npz(save=np.savez_compressed, **arrays):
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def h5(items, libver=None, **options):
    """An HDF5 file of data sets by path."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=libver) as file:
        for path, values in items.items():
            file.create_dataset(path, data=values, **(options if np.ndim(values) else {}))
    return stream.getvalue()


def named(events, prefix=""):
    return {prefix + name: column for name, column in zip("xytp", columns(events), strict=True)}


def text(events, order="txyp"):
    return text_lines(*(" ".join(map(str, row)) for row in table(events, order).tolist()))


ALL = (aedat2, aedat3, aedat4, atis_bin, columns, dat, events4, evt2, evt3, evt_header, flatbuffer, h5, named, npy, npz)
ALL += (packet3, packet4, structured, table, text, text_lines, words3)


@pytest.fixture(scope="session")
def write():
    """The writers by name; each gives a file's bytes, or a part of them."""
    return SimpleNamespace(**{writer.__name__: writer for writer in ALL}, header3=HEADER3)


@pytest.fixture(scope="session")
def read():
    """Read bytes by a format's suffix: the events as tuples, and the size."""

    def read(data, suffix, **layout):
        events, size = read_content(Content(f"it{suffix}", data), suffix, Layout(**layout) if layout else None)
        assert events.dtype == EVENT
        return events.tolist(), size

    return read


@pytest.fixture(scope="session")
def refused():
    """What is wrong with bytes and where, if that is known, of the one line that they are refused with."""

    def refused(data, suffix, **layout):
        with pytest.raises(DataError) as raised:
            read_content(Content(f"it{suffix}", data), suffix, Layout(**layout) if layout else None)
        assert len(str(raised.value).splitlines()) == 1
        reason, offset = re.fullmatch(rf"it\{suffix}: (.*?)(?:,? at offset (\d+))?", str(raised.value)).groups()
        return reason, None if offset is None else int(offset)

    return refused


@pytest.fixture(scope="session")
def little_memory():
    """Holds that what is done in it takes 30 MB at most; what a library takes behind Python's back does not count."""

    @contextmanager
    def measure():
        tracemalloc.start()
        try:
            yield
            assert tracemalloc.get_traced_memory()[1] < 30 << 20
        finally:
            tracemalloc.stop()

    return measure
