"""What makes libhdf5 hang or crash in a damaged HDF5 file: found in its bytes, before it is asked.

Source:
    The HDF Group, HDF5 File Format Specification, II.A: Superblock, III.D: Local Heaps, III.E: Global Heap, IV.A:
    Object Headers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from quietspike.datasets.formats.content import Content

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FIRST_USER_BLOCK = 512  # in front of the signature stands nothing, or a power of two of bytes
_LAST_PLACE = 1  # of a heap's list of free ones
_HEADER_BYTES = 16  # of a heap of objects, and of an object; a free place has no fewer
_LAYOUT, _CONTINUATION = 8, 16  # kinds of messages
_VIRTUAL = 3  # a kind of layout


def find_base(content: Content) -> int:
    """Where the signature stands, from which all addresses are counted.

    Raises:
        DataError: if there is none, or addresses and lengths do not have eight bytes, as all have.
    """
    base = 0
    while not content.data.startswith(_SIGNATURE, base):
        base = base * 2 or _FIRST_USER_BLOCK
        if base >= len(content.data):
            raise content.error("a damaged HDF5 file: no signature")
    sizes = base + (13 if content.data[base + 8 : base + 9] < b"\2" else 9)
    if content.data[sizes : sizes + 2] != b"\x08\x08":
        raise content.error("a damaged HDF5 file: addresses that do not have eight bytes", sizes)
    return base


def check_heaps(content: Content, base: int) -> None:
    """Follow all heaps to their ends, in a time that grows with the file and no faster.

    Raises:
        DataError: if free places lead in a circle, or an object has no size.
    """
    left = _check_names(content, base, len(content.data) // _HEADER_BYTES)
    _check_objects(content, left)


def is_virtual(content: Content, base: int, address: int) -> bool:
    """Whether the object with a header at that address is a virtual data set.

    HDF5 2.0 crashes where it reads what a damaged one is made of, which it does as it opens it.
    """
    return any(
        kind == _LAYOUT and content.data[start + 1 : start + 2] == bytes([_VIRTUAL])
        for kind, start in _messages(content.data, base, address)
    )


def _messages(data: bytes, base: int, address: int) -> Iterator[tuple[int, int]]:
    """The kind of each message of an object's header, and where it starts."""
    place = base + address
    if data.startswith(b"OHDR", place):
        flags = data[place + 5] if place + 5 < len(data) else 0
        width = 1 << (flags & 3)
        start = place + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0) + width
        blocks = [(start, int.from_bytes(data[start - width : start], "little"))]
        message, skipped = struct.Struct("<BHx2x" if flags & 4 else "<BHx"), len(b"OCHK")
    else:
        blocks = [(place + 16, int.from_bytes(data[place + 8 : place + 12], "little"))]
        message, skipped = struct.Struct("<HH4x"), 0
    left = len(data) // message.size  # blocks that continue each other for ever have more messages
    while blocks and left:
        start, length = blocks.pop()
        end = min(start + length, len(data))
        while start + message.size <= end and left:
            kind, size = message.unpack_from(data, start)
            start += message.size
            left -= 1
            yield kind, start
            if kind == _CONTINUATION and start + 16 <= len(data):
                further, bytes_there = struct.unpack_from("<QQ", data, start)
                blocks.append((base + further + skipped, bytes_there - skipped))
            start += size


def _check_names(content: Content, base: int, left: int) -> int:
    """Follow the lists of free places of all heaps of names; HDF5 2.0 does so until memory is full.

    There are no more places than fit into the file, unless some are met twice; gives how many are left.
    """
    for heap in re.finditer(b"HEAP\0", content.data):
        try:
            place, segment = struct.unpack_from("<QQ", content.data, heap.start() + 16)
            while place != _LAST_PLACE:
                if left == 0:
                    raise content.error("a damaged HDF5 file: free places in a circle", heap.start())
                left -= 1
                (place,) = struct.unpack_from("<Q", content.data, base + segment + place)
        except (struct.error, OverflowError):  # it leads out of the file, which HDF5 refuses
            continue
    return left


def _check_objects(content: Content, left: int) -> None:
    """Go through all heaps of objects; HDF5 2.0 stays for ever at one that takes no bytes."""
    for heap in re.finditer(b"GCOL\1", content.data):
        try:
            (size,) = struct.unpack_from("<Q", content.data, heap.start() + 8)
            place, end = heap.start() + _HEADER_BYTES, min(heap.start() + size, len(content.data))
            while place <= end - _HEADER_BYTES:
                index, length = struct.unpack_from("<H6xQ", content.data, place)
                taken = (_HEADER_BYTES + (length + 7 & ~7) if index else length) & (1 << 64) - 1
                if taken == 0 or left == 0:
                    raise content.error("a damaged HDF5 file: a heap's object of no size", place)
                left -= 1
                place += taken
        except struct.error:
            continue
