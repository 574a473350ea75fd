"""``.aedat4``: what DV writes, and CIFAR10-DVS is distributed in; FlatBuffers in compressed packets."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from xml.etree import ElementTree

import lz4.frame
import numpy as np
import zstandard

from quietspike.datasets.events import Events
from quietspike.datasets.formats.content import Content, Recording, pack

_MAGIC = b"#!AER-DAT4.0\r\n"
_EVENTS = b"EVTS"
_EVENT = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12]})
_EVENT_BYTES = 16
_MOST_PIXELS = 1 << 15  # in a row or column; coordinates have 16 bits
_PACKET = struct.Struct("<ii")  # stream, size
_KIND = slice(8, 12)  # of a packet: what it holds, in four letters
_PIECE_BYTES = 1 << 20  # that are unpacked at once
_NONE, _LZ4, _LZ4_HIGH, _ZSTD, _ZSTD_HIGH = range(5)

_Read = Callable[[int], bytes]
"""Gives so many of the bytes that a packet unpacks to, or what is left of them."""


class _DamagedError(ValueError):
    """Where the bytes are no FlatBuffer, or do not unpack."""


def read(content: Content) -> Recording:
    """The events of the first stream that has any; frames, triggers and inertial data are passed over.

    Raises:
        DataError: if the header or a packet is damaged, or there is no event.

    Source:
        iniVation, AEDAT 4.0; Google, FlatBuffers internals.
    """
    if not content.data.startswith(_MAGIC):
        raise content.error("not AEDAT 4.0: no such first line", 0)
    try:
        header = _Table.root(_prefixed(content.data[len(_MAGIC) :]))
        unpack, end, info = _compression(header.scalar(0, "<i")), header.scalar(1, "<q", -1), header.text(2)
        (length,) = struct.unpack_from("<I", content.data, len(_MAGIC))
    except (_DamagedError, struct.error) as error:
        raise content.error(f"a damaged header: {error}", len(_MAGIC)) from None
    start = len(_MAGIC) + 4 + length
    streams = _streams(content, unpack, start, len(content.data) if end < 0 else end)
    if not streams:
        raise content.error("empty: no event", start)
    first = min(streams)
    return Recording(np.concatenate(streams[first]), _size(info, first))


def _streams(content: Content, unpack: Callable[[bytes], _Read], start: int, end: int) -> dict[int, list[Events]]:
    """Events of each stream, packet by packet."""
    if not start <= end <= len(content.data):
        raise content.error(f"a damaged header: packets from {start} to {end} of {len(content.data)} bytes", start)
    streams: dict[int, list[Events]] = {}
    left, offset = content.most_bytes, start
    while offset < end:
        if end - offset < _PACKET.size:
            raise content.error(f"ends inside a packet's header of {_PACKET.size} bytes", offset)
        stream, size = _PACKET.unpack_from(content.data, offset)
        body = offset + _PACKET.size
        if not 0 <= size <= end - body:
            raise content.error(f"ends inside a packet of {size} bytes", offset)
        try:
            packet = _of_events(unpack(content.data[body : body + size]), left)
            left -= len(packet)
            if left < 0:
                raise content.error(f"unpacks to more than {content.most_bytes} bytes", offset)
            if packet and len(events := _events(_prefixed(packet))):
                streams.setdefault(stream, []).append(events)
        except (_DamagedError, struct.error) as error:
            raise content.error(f"a damaged packet: {error}", offset) from None
        offset = body + size
    return streams


def _of_events(read: _Read, most: int) -> bytes:
    """All of a packet of events, or as much of it as is more than may be; of any other packet nothing."""
    parts = [read(_KIND.stop)]
    if not parts[0][_KIND].isalnum():
        raise _DamagedError("it does not say what it holds")
    if parts[0][_KIND] != _EVENTS:
        return b""
    size = len(parts[0])
    while size <= most and (part := read(_PIECE_BYTES)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _compression(kind: int) -> Callable[[bytes], _Read]:
    if kind == _NONE:
        return lambda packed: io.BytesIO(packed).read
    if kind in (_LZ4, _LZ4_HIGH):
        return _unpack_lz4
    if kind in (_ZSTD, _ZSTD_HIGH):
        return _unpack_zstd
    raise _DamagedError(f"compression {kind} is none of 0 to {_ZSTD_HIGH}")


def _unpack_lz4(packed: bytes) -> _Read:
    decompressor = lz4.frame.LZ4FrameDecompressor()
    unread = packed

    def read(most: int) -> bytes:
        nonlocal unread
        if decompressor.eof:
            return b""
        try:
            unpacked: bytes = decompressor.decompress(unread, max_length=most)
        except RuntimeError as error:
            raise _DamagedError(f"it does not unpack: {error}") from None
        unread = b""
        if not unpacked and not decompressor.eof:
            raise _DamagedError("it does not unpack: the LZ4 frame does not end")
        return unpacked

    return read


def _unpack_zstd(packed: bytes) -> _Read:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed)

    def read(most: int) -> bytes:
        try:
            return reader.read(most)
        except zstandard.ZstdError as error:
            raise _DamagedError(f"it does not unpack: {error}") from None

    return read


def _prefixed(data: bytes) -> bytes:
    """What stands behind its own size."""
    (size,) = struct.unpack_from("<I", data)
    if size > len(data) - 4:
        raise _DamagedError(f"{size} bytes are announced and {len(data) - 4} are there")
    return data[4 : 4 + size]


def _events(packet: bytes) -> Events:
    start, number = _Table.root(packet).vector(0, _EVENT_BYTES)
    found = np.ndarray(number, _EVENT, packet, start, (_EVENT_BYTES,))
    return pack(found["x"], found["y"], found["t"], found["p"])


class _Table:
    """A FlatBuffers table: its fields are found through a list of their offsets."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        self._fields = position - self._number("<i", position)
        self._size = self._number("<H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """The table at the bottom of a buffer."""
        (position,) = struct.unpack_from("<I", data)
        return cls(data, position)

    def scalar(self, field: int, kind: str, default: int = 0) -> int:
        """A number; the default where the table leaves it out."""
        position = self._find(field)
        return default if position is None else self._number(kind, position)

    def text(self, field: int) -> str:
        """A string; empty where the table leaves it out."""
        start, length = self.vector(field, 1)
        return self._data[start : start + length].decode("utf-8", "replace")

    def vector(self, field: int, item: int) -> tuple[int, int]:
        """Where a vector's items of so many bytes start, and their number."""
        position = self._find(field)
        if position is None:
            return 0, 0
        start = position + self._number("<I", position)
        length = self._number("<I", start)
        if length * item > len(self._data) - start - 4:
            raise _DamagedError(f"a vector of {length} items is longer than its packet")
        return start + 4, length

    def _find(self, field: int) -> int | None:
        slot = 4 + 2 * field
        offset = self._number("<H", self._fields + slot) if slot + 2 <= self._size else 0
        return self._position + offset if offset else None

    def _number(self, kind: str, position: int) -> int:
        if position < 0:  # which struct would count from the end
            raise _DamagedError("an offset points out of it")
        (number,) = struct.unpack_from(kind, self._data, position)
        return int(number)


def _size(info: str, stream: int) -> tuple[int, int] | None:
    """Of a stream, in the XML of the header; a header without it is no damage."""
    try:
        root = ElementTree.fromstring(info)
        node = root.find(f"./node/node[@name='{stream}']/node[@name='info']")
        attributes = {} if node is None else {attribute.get("key"): attribute.text for attribute in node}
        width, height = int(attributes.get("sizeX") or 0), int(attributes.get("sizeY") or 0)
    except (ElementTree.ParseError, ValueError):
        return None
    return (width, height) if 0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS else None
