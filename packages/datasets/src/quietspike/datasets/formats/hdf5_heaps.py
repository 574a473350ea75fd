"""Heaps of an HDF5 file that libhdf5 never gets to the end of: checked before it opens the file.

Source:
    The HDF Group, HDF5 File Format Specification, III.D: Local Heaps and III.E: Global Heap; with offsets and lengths
    of eight bytes, as all have.
"""

from __future__ import annotations

import re
import struct

from quietspike.datasets.formats.content import Content

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LAST_PLACE = 1  # of a heap's list of free ones
_HEADER_BYTES = 16  # of a heap of objects, and of an object; a free place has no fewer


def check_heaps(content: Content) -> None:
    """Follow all heaps to their ends, in a time that grows with the file and no faster.

    Raises:
        DataError: if free places lead in a circle, or an object has no size.
    """
    left = _check_names(content, len(content.data) // _HEADER_BYTES)
    _check_objects(content, left)


def _check_names(content: Content, left: int) -> int:
    """Follow the lists of free places of all heaps of names; HDF5 2.0 does so until memory is full.

    There are no more places than fit into the file, unless some are met twice; gives how many are left.
    """
    base = content.data.find(_SIGNATURE)
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
