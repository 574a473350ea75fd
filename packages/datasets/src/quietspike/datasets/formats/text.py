"""``.txt``: a line of four numbers an event, as DVS128 Gait is distributed."""

from __future__ import annotations

import io
import warnings

import numpy as np

from quietspike.datasets.formats.columns import Layout, from_table
from quietspike.datasets.formats.content import Content, Recording, one_line


def read(content: Content, layout: Layout) -> Recording:
    """Whole numbers between spaces, four a line; lines that start with ``#`` are skipped.

    Raises:
        DataError: if a line is anything else, or there is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without a line, which is refused below
            warnings.simplefilter("error", DeprecationWarning)  # numpy 1 cuts fractions off
            table = np.loadtxt(io.BytesIO(content.data), dtype=np.int64, ndmin=2)
    except (ValueError, OverflowError) as error:
        raise content.error(f"no lines of four numbers: {one_line(error)},", 0) from None
    if table.size and table.shape[1] != 4:
        raise content.error(f"lines of {table.shape[1]} numbers, not four,", 0)
    return from_table(content.name, table.reshape(-1, 4), layout)
