"""``.npy`` and ``.npz``: numpy's own files, of which no pickle is ever loaded by pickle's rules."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quietspike.core.errors import DataError
from quietspike.datasets.formats.columns import (
    Layout,
    find_columns,
    find_table,
    from_named,
    from_table,
    no_columns,
)
from quietspike.datasets.formats.content import Content, Recording, one_line
from quietspike.datasets.formats.pickled import load_arrays

_SUFFIX = ".npy"
_HEADER_BYTES = 1 << 14  # at the start of a .npy; numpy reads no longer header
_PIECE_BYTES = 1 << 20  # that are unpacked at once


def read_npy(content: Content, layout: Layout) -> Recording:
    """A structured array with fields x, y, t and p, or four columns.

    Raises:
        DataError: if it is damaged, of objects, or none of events.
    """
    array = load(content)
    if isinstance(array, list):
        raise content.error(f"{len(array)} arrays, not the events of one recording")
    return from_table(content.name, array, layout)


def read_npz(content: Content, layout: Layout) -> Recording:
    """Arrays x, y, t and p, or one as in a ``.npy``; others beside them are not loaded.

    Raises:
        DataError: if it is damaged, unpacks to more than ``Content.most_bytes``, or holds no events.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content.data)) as archive:
            members = {
                member.filename.removesuffix(_SUFFIX): member
                for member in archive.infolist()
                if member.filename.endswith(_SUFFIX)
            }
            if not members:
                raise content.error("empty: no array")
            return _from_members(content, archive, members, layout)
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, OverflowError) as error:
        raise content.error(f"a damaged archive: {one_line(error)}") from None


def load(content: Content) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
    """The array of a ``.npy``; of an array of objects the arrays in it.

    Raises:
        DataError: if it is damaged, or holds objects that are no arrays of numbers.
    """
    header = _header(content)
    if header.dtype.hasobject:
        return load_arrays(content, header.start)
    return _array(content, header, content.data)


class _Header(NamedTuple):
    """What a ``.npy`` says of its array, and where that starts."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def end(self) -> int:
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def _header(content: Content) -> _Header:
    stream = io.BytesIO(content.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 2's spelling, and of anything in a damaged header
            version = np.lib.format.read_magic(stream)
            headers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
            shape, is_fortran, dtype = headers[version[0]](stream)
    except Exception as error:  # the header is text that numpy evaluates, and may be anything
        raise content.error(f"no header of a .npy: {one_line(error)}", 0) from None
    if min(shape, default=0) < 0:  # which would mean as many as there are
        raise content.error("a negative length in the header of a .npy", stream.tell())
    return _Header(shape, is_fortran, dtype, stream.tell())


def _array(content: Content, header: _Header, data: bytes | bytearray) -> npt.NDArray[Any]:
    try:
        array = np.frombuffer(data, header.dtype, math.prod(header.shape), header.start)
        return array.reshape(header.shape, order="F" if header.is_fortran else "C")
    except (ValueError, OverflowError) as error:
        raise content.error(f"not the array that its header tells of: {one_line(error)}", header.start) from None


def _from_members(
    content: Content, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], layout: Layout
) -> Recording:
    loader, columns = _Loader(content, archive), find_columns(members)
    if len(columns) == len(layout.columns):
        return from_named(content.name, {name: loader.load(members[name]) for name in columns.values()}, layout)
    if len(members) == 1:
        return from_table(content.name, loader.load(*members.values()), layout)
    headers = {name: loader.header(member) for name, member in members.items()}
    name = find_table({name: (header.dtype, header.shape) for name, header in headers.items()})
    if name is None:
        raise no_columns(content.name, members)
    return from_table(content.name, loader.load(members[name]), layout)


class _Loader:
    """Loads members of an archive, of which all together may unpack to so much."""

    def __init__(self, content: Content, archive: zipfile.ZipFile) -> None:
        self._content, self._archive, self._left = content, archive, content.most_bytes

    def header(self, member: zipfile.ZipInfo) -> _Header:
        with self._open(member) as file:
            return _header(self._inner(member, file.read(_HEADER_BYTES)))

    def load(self, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
        """All of a member's array; what stands behind it is not unpacked."""
        with self._open(member) as file:
            first = file.read(_HEADER_BYTES)
            inner = self._inner(member, first)
            header = _header(inner)
            if header.dtype.hasobject:
                raise self._content.error(f"{one_line(member.filename)} is of objects", member.header_offset)
            self._left -= header.end
            if self._left < 0:
                problem = f"unpacks to more than {self._content.most_bytes} bytes"
                raise self._content.error(problem, member.header_offset)
            if header.end > member.file_size:
                problem = (
                    f"not the array that its header tells of: {header.end} bytes, and {member.file_size} are there"
                )
                raise inner.error(problem, header.start)
            data = bytearray(first[: header.end])
            while len(data) < header.end and (piece := file.read(min(_PIECE_BYTES, header.end - len(data)))):
                data += piece
        return _array(inner, header, data)

    def _open(self, member: zipfile.ZipInfo) -> IO[bytes]:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # which unpack bit by bit
            raise self._content.error("compressed as numpy compresses none", member.header_offset)
        return self._archive.open(member)

    def _inner(self, member: zipfile.ZipInfo, data: bytes) -> Content:
        return Content(f"{self._content.name}: {one_line(member.filename)}", data)
