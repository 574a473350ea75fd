"""Numbers in memory as numba kernels read and write them, and an exponential that vectors can take.

bfloat16, which numba lacks, is seen as uint16: the upper half of a float32. Kernels compute in float32, or in float64
where the memory holds that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

_BITS = ir.IntType(32)

inside = njit(nogil=True, inline="always", error_model="numpy")
"""Makes a function that kernels take in as if it stood in them."""


@intrinsic
def load(context, number):  # type: ignore[no-untyped-def]
    """A number of memory as one to compute with."""
    if number != types.uint16:
        return number(number), lambda context, builder, signature, given: given[0]

    def widen(context, builder, signature, given):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.shl(builder.zext(given[0], _BITS), _BITS(16)), ir.FloatType())

    return types.float32(number), widen


@intrinsic
def kept(context, number, row):  # type: ignore[no-untyped-def]
    """A number as a row of memory holds it, bfloat16 rounded to the nearest, ties to even."""
    if row.dtype != types.uint16:
        return number(number, row), lambda context, builder, signature, given: given[0]

    def narrow(context, builder, signature, given):  # type: ignore[no-untyped-def]
        bits = builder.bitcast(given[0], _BITS)
        half = builder.lshr(bits, _BITS(16))
        up = builder.add(builder.add(bits, _BITS(0x7FFF)), builder.and_(half, _BITS(1)))
        unknown = builder.fcmp_unordered("uno", given[0], given[0])
        rounded = builder.select(unknown, _BITS(0x7FC0), builder.lshr(up, _BITS(16)))
        return builder.trunc(rounded, ir.IntType(16))

    return types.uint16(types.float32, row), narrow


def exp(number: Any) -> Any:
    """The exponential of a number of at most 0; for kernels alone. float32 is within 2e-7 of it, by a polynomial."""
    raise NotImplementedError


@overload(exp, inline="always")
def _exp(number):  # type: ignore[no-untyped-def]
    if number != types.float32:
        return lambda number: np.exp(number)

    def series_of(number):  # type: ignore[no-untyped-def]
        # The library's would be a call for each number. 2ⁿ eʳ with |r| ≤ ln 2 / 2, and eʳ by its series to r⁷; ln 2 in
        # two parts, of which n times the first is exact.
        least = np.float32(-87)  # below it float32 is no longer normal
        x = least if number < least else number
        n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
        r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440054690583e-4)
        series = np.float32(1 / 5040)
        series = series * r + np.float32(1 / 720)
        series = series * r + np.float32(1 / 120)
        series = series * r + np.float32(1 / 24)
        series = series * r + np.float32(1 / 6)
        series = series * r + np.float32(1 / 2)
        series = series * r * r + r + np.float32(1)
        return series * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)

    return series_of
