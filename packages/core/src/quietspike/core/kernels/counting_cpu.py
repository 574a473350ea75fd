"""Counts of what is active, in one pass over memory, on a CPU; each part has a place of its own for what it finds."""

from __future__ import annotations

import numpy as np
from numba import njit

from quietspike.core.kernels.numbers_cpu import load


@njit(nogil=True, cache=True, error_model="numpy")
def count(rows, part, found, start, stop):  # type: ignore[no-untyped-def]
    """Of rows [R, N], cut in parts, how many numbers are not 0, and how many neither 0 nor 1: [R·⌈N / part⌉, 2]."""
    size = rows.shape[1]
    parts = -(-size // part)
    for number in range(start, stop):
        begin = number % parts * part
        row = rows[number // parts, begin : min(size, begin + part)]
        active, graded = np.int32(0), np.int32(0)
        for i in range(row.shape[0]):
            value = load(row[i])
            active += np.int32(value != 0)
            graded += np.int32((value != 0) & (value != 1))
        found[number, 0], found[number, 1] = active, graded


@njit(nogil=True, cache=True, error_model="numpy")
def count_weighed(frames, weights, found, start, stop):  # type: ignore[no-untyped-def]
    """As ``count`` of each of frames [N, P, C], and the sum of its active numbers' weights [P]: [N, 3]."""
    for n in range(start, stop):
        active, graded, weighed = np.int64(0), np.int64(0), np.int64(0)
        for place in range(frames.shape[1]):
            row = frames[n, place]
            here, other = np.int32(0), np.int32(0)
            for c in range(row.shape[0]):
                value = load(row[c])
                here += np.int32(value != 0)
                other += np.int32((value != 0) & (value != 1))
            active += here
            graded += other
            weighed += here * weights[place]
        found[n, 0], found[n, 1], found[n, 2] = active, graded, weighed
