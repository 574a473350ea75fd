"""``.npy`` and ``.npz``: numpy's own files, of which no pickle is ever loaded by pickle's rules."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from quietspike.core.errors import DataError
from quietspike.datasets.formats.columns import Layout, from_named, from_table
from quietspike.datasets.formats.content import Content, Recording, one_line
from quietspike.datasets.formats.pickled import load_arrays

_SUFFIX = ".npy"


def read_npy(content: Content, layout: Layout) -> Recording:
    """A structured array with fields x, y, t and p, or four columns.

    Raises:
        DataError: if it is damaged, of objects, or none of events.
    """
    array = load(content)
    if isinstance(array, list):
        raise content.error(f"{len(array)} arrays, not the events of one recording,", 0)
    return from_table(content.name, array, layout)


def read_npz(content: Content, layout: Layout) -> Recording:
    """Arrays x, y, t and p, or a single one as in a ``.npy``.

    Raises:
        DataError: if it is damaged, unpacks to more than ``Content.most_bytes``, or holds no events.
    """
    arrays = _unpack(content)
    if len(arrays) == 1:
        return from_table(content.name, next(iter(arrays.values())), layout)
    return from_named(content.name, arrays, layout)


def load(content: Content) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
    """The array of a ``.npy``; of an array of objects the arrays in it.

    Raises:
        DataError: if it is damaged, or holds objects that are no arrays of numbers.
    """
    stream = io.BytesIO(content.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 2's spelling, and of anything in a damaged header
            version = np.lib.format.read_magic(stream)
            headers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
            shape, is_fortran, dtype = headers[version[0]](stream)
    except Exception as error:  # the header is text that numpy evaluates, and may be anything
        raise content.error(f"no header of a .npy: {one_line(error)}", 0) from None
    start = stream.tell()
    if dtype.hasobject:
        return load_arrays(content, start)
    if min(shape, default=0) < 0:  # which would mean as many as there are
        raise content.error("a negative length in the header of a .npy", start)
    try:
        array = np.frombuffer(content.data, dtype, math.prod(shape), start)
        return array.reshape(shape, order="F" if is_fortran else "C")
    except (ValueError, OverflowError) as error:
        raise content.error(f"not the array that its header tells of: {one_line(error)}", start) from None


def _unpack(content: Content) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    left = content.most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(content.data)) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(_SUFFIX):
                    continue
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # which unpack bit by bit
                    raise content.error("compressed as numpy compresses none", member.header_offset)
                with archive.open(member) as file:
                    data = file.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise content.error(f"unpacks to more than {content.most_bytes} bytes", member.header_offset)
                name = one_line(member.filename)
                array = load(Content(f"{content.name}: {name}", data))
                if isinstance(array, list):
                    raise content.error(f"{name} is of objects", member.header_offset)
                arrays[member.filename.removesuffix(_SUFFIX)] = array
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise content.error(f"a damaged archive: {one_line(error)}", 0) from None
    if not arrays:
        raise content.error("empty: no array", 0)
    return arrays
