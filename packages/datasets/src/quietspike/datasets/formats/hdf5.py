"""``.h5`` and ``.hdf5``: the layouts that event recordings are exchanged in."""

from __future__ import annotations

import io
import math
from typing import Any

import h5py
import numpy.typing as npt

from quietspike.core.errors import DataError
from quietspike.datasets.formats.columns import Layout, from_named, from_table
from quietspike.datasets.formats.content import Content, Recording, one_line
from quietspike.datasets.formats.hdf5_heaps import check_heaps

_PLACES = ("CD/events", "events", "/")
_OFFSET = "t_offset"
_CHECKSUM_BYTES = 4
_CRASHING = {h5py.h5z.FILTER_SZIP: "szip", h5py.h5z.FILTER_NBIT: "nbit", h5py.h5z.FILTER_SCALEOFFSET: "scaleoffset"}


def read(content: Content, layout: Layout) -> Recording:
    """The data set or group ``CD/events`` or ``events``, or the top of the file: a table, or x, y, t and p by name.

    A number ``t_offset`` at the top, as DSEC has it, is added to the times.

    Raises:
        DataError: if it is damaged, larger than ``Content.most_bytes``, compressed by a plugin that is missing, or has
            no events.
    """
    check_heaps(content)
    try:
        with h5py.File(io.BytesIO(content.data), "r") as file:
            found = next(item for place in _PLACES if (item := _find(file, place)) is not None)
            if isinstance(found, h5py.Dataset):
                return from_table(content.name, _arrays(content, [found])[0], layout)
            columns = {name: item for name in found if _is_column(item := _find(found, name))}
            fields = dict(zip(columns, _arrays(content, list(columns.values())), strict=True))
            recording = from_named(content.name, fields, layout)
            offset = _find(file, _OFFSET)
            if isinstance(offset, h5py.Dataset) and offset.shape == ():
                recording.events["t"] += int(_arrays(content, [offset])[0])
            return recording
    except DataError:
        raise
    except Exception as error:  # a damaged file makes h5py raise nearly anything
        raise content.error(f"a damaged HDF5 file: {one_line(error)}", 0) from None


def _find(file: h5py.Group, place: str) -> Any:
    """What stands at a place in this very file, if anything; a link could lead to any other one."""
    found: Any = file
    for name in filter(None, place.split("/")):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(name, getlink=True), h5py.HardLink):
            return None
        found = found[name]
    return found


def _is_column(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and len(item.shape) == 1 and item.dtype.kind in "buif"


def _arrays(content: Content, items: list[h5py.Dataset]) -> list[npt.NDArray[Any]]:
    """Read all of some data sets, if they hold what they announce and all of it fits into memory."""
    announced = sum(item.size * item.dtype.itemsize for item in items)
    if announced > content.most_bytes:
        raise content.error(f"{announced} bytes, more than {content.most_bytes},", 0)
    for item in items:
        if item.external or item.is_virtual or item.dtype.hasobject:
            raise content.error(f"{one_line(item.name)} lies in another file, or is none of numbers,", 0)
        chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
        held = item.id.get_num_chunks() * chunk if item.chunks else item.id.get_storage_size()
        if chunk > content.most_bytes or item.size * item.dtype.itemsize > held:
            raise content.error(f"{one_line(item.name)} announces more than it holds", 0)
        _check_filters(content, item)
    return [item[()] for item in items]


def _check_filters(content: Content, item: h5py.Dataset) -> None:
    """Refuse the filters with which HDF5 2.0 writes past its memory when a chunk is damaged."""
    name, created = one_line(item.name), item.id.get_create_plist()
    filters = [created.get_filter(place)[0] for place in range(created.get_nfilters())]
    crashing = next((_CRASHING[code] for code in filters if code in _CRASHING), None)
    if crashing:
        raise content.error(f"{name} is packed with {crashing}, which is not read; write it anew with gzip")
    if h5py.h5z.FILTER_FLETCHER32 not in filters:
        return
    if filters.index(h5py.h5z.FILTER_FLETCHER32) != len(filters) - 1:  # it would get what a chunk unpacks to
        raise content.error(f"{name} has checksums of what it unpacks to, which are not read; write it anew")
    if item.id.chunk_iter(lambda chunk: chunk.size <= _CHECKSUM_BYTES or None):  # None goes on to the next
        raise content.error(f"a damaged HDF5 file: {name} has a chunk that is no longer than its checksum")
