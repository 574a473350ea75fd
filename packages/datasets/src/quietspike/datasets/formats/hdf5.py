"""``.h5`` and ``.hdf5``: the layouts that event recordings are exchanged in."""

from __future__ import annotations

import io
import math
from contextlib import suppress
from importlib import import_module
from typing import Any

import h5py
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
from quietspike.datasets.formats.hdf5_damage import check_heaps, find_base, is_virtual

_PLACES = ("CD/events", "events", "/")
_OFFSET = "t_offset"
_CHECKSUM_BYTES = 4
_PLUGINS = {
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
_CRASHING = {h5py.h5z.FILTER_SZIP: "szip", h5py.h5z.FILTER_NBIT: "nbit", h5py.h5z.FILTER_SCALEOFFSET: "scaleoffset"}


def read(content: Content, layout: Layout) -> Recording:
    """The data set or group ``CD/events`` or ``events``, or the top of the file: a table, or x, y, t and p by name.

    Data sets beside these are not opened. A number ``t_offset`` at the top, as DSEC has it, is added to the times, in
    whose unit it is.

    Raises:
        DataError: if it is damaged, larger than ``Content.most_bytes``, compressed by a plugin that is missing, or has
            no events.
    """
    base = find_base(content)
    check_heaps(content, base)
    try:
        with h5py.File(io.BytesIO(content.data), "r") as file:
            opener = _Opener(content, base)
            found = next(item for place in _PLACES if (item := opener.find(file, place)) is not None)
            start = _start(content, opener.find(file, _OFFSET))
            if isinstance(found, h5py.Dataset):
                return from_table(content.name, _arrays(content, [found])[0], layout, start)
            names = [name for name in found if _is_here(found, name)]
            columns = find_columns(names)
            if len(columns) == len(layout.columns):
                arrays = _arrays(content, [opener.open(found, name) for name in columns.values()])
                return from_named(content.name, dict(zip(columns, arrays, strict=True)), layout, start)
            real = [name for name in names if not opener.is_virtual(found, name)]
            tables = {name: item for name in real if _has_shape(item := found[name])}
            table = find_table({name: (item.dtype, item.shape) for name, item in tables.items()})
            if table is None:
                raise no_columns(content.name, names)
            return from_table(content.name, _arrays(content, [tables[table]])[0], layout, start)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes h5py raise nearly anything
        raise content.error(f"a damaged HDF5 file: {one_line(error)}") from None


def _is_here(group: h5py.Group, name: str) -> bool:
    """Whether a name stands for something in this very file; a link could lead to any other one."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


class _Opener:
    """Opens what stands in the file itself, and no virtual data set."""

    def __init__(self, content: Content, base: int) -> None:
        self._content, self._base = content, base

    def is_virtual(self, group: h5py.Group, name: str) -> bool:
        return is_virtual(self._content, self._base, group.id.links.get_info(name.encode("utf-8", "surrogateescape")).u)

    def open(self, group: h5py.Group, name: str) -> Any:
        if self.is_virtual(group, name):
            place = one_line(f"{group.name.rstrip('/')}/{name}")
            raise self._content.error(f"{place} lies in another file, or is none of numbers")
        return group[name]

    def find(self, file: h5py.Group, place: str) -> Any:
        """What stands at a place, if anything."""
        found: Any = file
        for name in filter(None, place.split("/")):
            if not isinstance(found, h5py.Group) or not _is_here(found, name):
                return None
            found = self.open(found, name)
        return found


def _has_shape(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.shape is not None


def _start(content: Content, item: Any) -> npt.NDArray[Any]:
    """The number that is to be added to all times; 0 where the file has none."""
    if item is None:
        return np.zeros((), np.int64)
    if not _has_shape(item) or item.size != 1 or item.dtype.kind not in "buif":
        raise content.error(f"{_OFFSET} is not one number")
    return _arrays(content, [item])[0].reshape(())


def _arrays(content: Content, items: list[Any]) -> list[npt.NDArray[Any]]:
    """Read all of some data sets, if they hold what they announce and all of it fits into memory."""
    for item in items:
        if not isinstance(item, h5py.Dataset):
            raise content.error(f"{one_line(item.name)} is no data set")
        if item.shape is None:
            raise content.error(f"{one_line(item.name)} is empty: no event")
    announced = sum(item.size * item.dtype.itemsize for item in items)
    if announced > content.most_bytes:
        raise content.error(f"{announced} bytes, more than {content.most_bytes}")
    for item in items:
        name = one_line(item.name)
        if item.external or item.dtype.hasobject:
            raise content.error(f"{name} lies in another file, or is none of numbers")
        chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
        held = item.id.get_num_chunks() * chunk if item.chunks else item.id.get_storage_size()
        if chunk > content.most_bytes or item.size * item.dtype.itemsize > held:
            raise content.error(f"{name} announces more than it holds")
        _check_filters(content, item)
    return [np.asarray(item[()]) for item in items]


def _check_filters(content: Content, item: h5py.Dataset) -> None:
    """Refuse filters that are missing, and those with which HDF5 2.0 leaves its memory when a chunk is damaged."""
    name, created = one_line(item.name), item.id.get_create_plist()
    filters = [created.get_filter(place)[0] for place in range(created.get_nfilters())]
    for code in filters:
        if code in _CRASHING:
            raise content.error(f"{name} is packed with {_CRASHING[code]}, which is not read; write it anew with gzip")
        if not _is_there(code):
            advice = "pip install hdf5plugin" if code in _PLUGINS else "install its plugin for HDF5"
            raise content.error(f"{name} is compressed with {_PLUGINS.get(code, f'filter {code}')}; {advice}")
    if h5py.h5z.FILTER_FLETCHER32 not in filters:
        return
    if filters.index(h5py.h5z.FILTER_FLETCHER32) != len(filters) - 1:  # it would get what a chunk unpacks to
        raise content.error(f"{name} has checksums of what it unpacks to, which are not read; write it anew")
    if item.id.chunk_iter(lambda chunk: chunk.size <= _CHECKSUM_BYTES or None):  # None goes on to the next
        raise content.error(f"a damaged HDF5 file: {name} has a chunk that is no longer than its checksum")


def _is_there(code: int) -> bool:
    """Whether a filter can be used, if need be from hdf5plugin, which adds its own when it is imported."""
    if not h5py.h5z.filter_avail(code):
        with suppress(ImportError):
            import_module("hdf5plugin")
    return bool(h5py.h5z.filter_avail(code))
