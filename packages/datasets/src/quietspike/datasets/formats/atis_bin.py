"""``.bin`` and ``.bs2``: N-MNIST, N-Caltech101 and what else uses five bytes an event."""

from __future__ import annotations

import numpy as np

from quietspike.datasets.formats.content import Content, Recording, pack

_OVERFLOW_ROW = 240
_OVERFLOW_US = 1 << 13


def read(content: Content) -> Recording:
    """Five bytes an event: x, y, then one bit of polarity and 23 bits of microseconds, big end first.

    An event on row 240 is no event: the clock wrapped around there, and all times from it on grow by 2^13 µs.

    Raises:
        DataError: if the file is empty or holds clock overflows alone, or ends inside an event.

    Source:
        Orchard et al. 2015, Converting static image datasets to spiking neuromorphic datasets using saccades.
    """
    x, y, high, middle, low = content.records(0, (np.uint8, 5)).T
    wrapped = y == _OVERFLOW_ROW
    if wrapped.all():
        raise content.error(f"empty: {len(y)} clock overflows and no event", 0)
    t = (high.astype(np.int64) & 127) << 16 | middle.astype(np.int64) << 8 | low
    t += np.cumsum(wrapped) * _OVERFLOW_US
    proper = ~wrapped
    return Recording(pack(x[proper], y[proper], t[proper], high[proper] >> 7))
