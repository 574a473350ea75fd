"""AEDAT 3.1: what cAER writes, and DVS128 Gesture is published in; packets of events of one type."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from quietspike.datasets.formats.content import Content, Recording, Whole, pack

_LAST_LINE = "#!END-HEADER"
_FORMAT = "#Format:"
_HEADER = struct.Struct("<hhiiiiii")  # type, source, size, time's offset, overflows, capacity, number, valid
_EVENT = np.dtype([("data", "<u4"), ("time", "<u4")])
_POLARITY = 1
_SIZES = {"DVS128": (128, 128), "DAVIS240": (240, 180), "DAVIS346": (346, 260), "DAVIS640": (640, 480)}


def read(content: Content) -> Recording:
    """Packets of a 28-byte header and events; only events of polarity are taken, and of these the valid ones.

    Raises:
        DataError: if the header does not end, packets are packed, a packet is not whole, or there is no event.

    Source:
        iniVation, AEDAT 3.1.
    """
    lines, start = content.header(b"#", _LAST_LINE)
    if lines[-1:] != [_LAST_LINE]:
        raise content.error(f"the header does not end with {_LAST_LINE}", start)
    packed = next((line.removeprefix(_FORMAT).strip() for line in lines if line.startswith(_FORMAT)), "RAW")
    if packed.upper() != "RAW":
        raise content.error(
            f"packets in the format {packed[:40]!r}, of which only RAW is read,", content.data.find(_FORMAT.encode())
        )
    data: list[Whole] = []
    times: list[npt.NDArray[np.int64]] = []
    offset = start
    while offset < len(content.data):
        if len(content.data) - offset < _HEADER.size:
            raise content.error(f"ends inside a packet's header of {_HEADER.size} bytes", offset)
        kind, _, size, _, overflows, capacity, number, _ = _HEADER.unpack_from(content.data, offset)
        if size <= 0 or not 0 <= number <= capacity or overflows < 0:
            raise content.error(f"no packet: {number} of {capacity} events of {size} bytes", offset)
        body = offset + _HEADER.size
        if size * capacity > len(content.data) - body:
            raise content.error(f"ends inside a packet of {capacity} events of {size} bytes", offset)
        if kind == _POLARITY:
            if size != _EVENT.itemsize:
                raise content.error(f"no packet: events of polarity of {size} bytes, not {_EVENT.itemsize}", offset)
            events = np.frombuffer(content.data, _EVENT, number, body)
            data.append(events["data"])
            times.append(events["time"].astype(np.int64) + (overflows << 31))
        offset = body + size * capacity
    joined = np.concatenate([np.empty(0, np.uint32), *data])
    valid = (joined & 1) == 1
    if not valid.any():
        raise content.error(f"empty: {len(joined)} events and none that is valid", start)
    joined, t = joined[valid], np.concatenate([np.empty(0, np.int64), *times])[valid]
    return Recording(pack(joined >> 17, joined >> 2 & 0x7FFF, t, joined >> 1 & 1), _size(lines))


def _size(lines: list[str]) -> tuple[int, int] | None:
    sources = [line.partition(":")[2].strip().upper() for line in lines if line.startswith(("#Source", "#-Source"))]
    return next((size for name, size in _SIZES.items() for source in sources if source.startswith(name)), None)
