"""AEDAT 2.0: what jAER writes; pairs of an address, whose meaning depends on the chip, and a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quietspike.datasets.formats.content import Content, Recording, Whole, pack, unwrap

_PAIR = np.dtype([("address", ">u4"), ("time", ">u4")])
_CHIP = "# AEChip:"


class _Field(NamedTuple):
    """Bits of an address."""

    low: int
    bits: int

    def of(self, address: Whole) -> Whole:
        return address >> self.low & (1 << self.bits) - 1


class _Chip(NamedTuple):
    """How a chip's addresses are laid out; its origin is the lower right corner."""

    width: int
    height: int
    x: _Field
    y: _Field
    polarity: _Field
    on: int  # the bit's value where the pixel became brighter
    other: int  # bits of which one is set where the event is none of a pixel's changes


def _davis(width: int, height: int) -> _Chip:
    return _Chip(width, height, _Field(12, 10), _Field(22, 9), _Field(11, 1), 1, 1 << 31 | 1 << 10)


_DVS128 = _Chip(128, 128, _Field(1, 7), _Field(8, 7), _Field(0, 1), 0, 0xFFFF8000)
_DAVISES = (_davis(240, 180), _davis(346, 260), _davis(640, 480))
_NAMES = {
    "dvs128": _DVS128,
    "tmpdiff128": _DVS128,
    "davis240": _DAVISES[0],
    "sbret": _DAVISES[0],  # the DAVIS240's name before it had one
    "davis346": _DAVISES[1],
    "davis640": _DAVISES[2],
}


def read(content: Content) -> Recording:
    """Eight bytes an event, address and microseconds, big end first.

    The chip stands in the header. Where it does not, 15-bit addresses are a DVS128's, and others those of the smallest
    DAVIS that has the pixels. x and y are counted from the upper left corner, as in all other formats.

    Raises:
        DataError: if the file ends inside an event, has none of a pixel, or names a chip that is not known here.

    Source:
        iniVation, AEDAT 2.0. Differs for the DVS128: its polarity bit is 0 for ON (the page says 1) and x is
        mirrored, as in jAER, which writes these files, and in libcaer, which reads the chip.
    """
    lines, start = content.header(b"#")
    pairs = content.records(start, _PAIR)
    address = pairs["address"].astype(np.uint32)
    chip = _chip_of(content, lines, address)
    kept = (address & chip.other) == 0
    address = address[kept]
    if not len(address):
        raise content.error(f"empty: {len(pairs)} records and no event of a pixel", start)
    x, y = chip.width - 1 - chip.x.of(address).astype(np.int16), chip.height - 1 - chip.y.of(address).astype(np.int16)
    t = unwrap(pairs["time"], 32)[kept]
    return Recording(pack(x, y, t, chip.polarity.of(address) == chip.on), (chip.width, chip.height))


def _chip_of(content: Content, lines: list[str], address: Whole) -> _Chip:
    named = next((line.removeprefix(_CHIP).strip() for line in lines if line.startswith(_CHIP)), None)
    if named is not None:
        chip = next((chip for name, chip in _NAMES.items() if name in named.rpartition(".")[2].lower()), None)
        if chip is None:
            raise content.error(f"the chip {named[:60]!r} is none of {', '.join(_NAMES)}; it is named", 0)
        return chip
    if not (address & 0xFFFF0000).any():
        return _DVS128
    x, y = (int(field.of(address).max()) for field in (_DAVISES[0].x, _DAVISES[0].y))
    return next((chip for chip in _DAVISES if x < chip.width and y < chip.height), _DAVISES[-1])
