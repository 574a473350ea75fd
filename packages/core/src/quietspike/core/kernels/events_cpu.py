"""Synapses that work for their active inputs alone, on a CPU.

For each place of the output the active inputs of its neighbourhood are gathered, and for each of them a row of weights
is added, four rows at once: what is silent costs a look at its channels and nothing more. A place's sum has the same
order whatever the threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def list_active(x, active, starts):  # type: ignore[no-untyped-def]
    """Where a row of places [W·C] is not zero; those of place w are ``active[starts[w] : starts[w + 1]]``."""
    zero = x.dtype.type(0)
    channels = x.shape[0] // (starts.shape[0] - 1)
    found = 0
    for place in range(starts.shape[0] - 1):
        starts[place] = found
        begin = place * channels
        values = x[begin : begin + channels]
        some = False
        for c in range(channels):
            some |= values[c] != zero
        if some:
            for c in range(channels):
                active[found] = begin + c  # stays where the next one is written, unless it is active
                found += values[c] != zero
    starts[-1] = found


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def add_rows(rows, values, count, weights, out):  # type: ignore[no-untyped-def]
    """Add so many rows of weights, times their values, to ``out``."""
    k = 0
    while k + 4 <= count:
        w0, w1, w2, w3 = weights[rows[k]], weights[rows[k + 1]], weights[rows[k + 2]], weights[rows[k + 3]]
        v0, v1, v2, v3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        for c in range(out.shape[0]):
            out[c] += v0 * w0[c] + v1 * w1[c] + v2 * w2[c] + v3 * w3[c]
        k += 4
    while k < count:
        w0, v0 = weights[rows[k]], values[k]
        for c in range(out.shape[0]):
            out[c] += v0 * w0[c]
        k += 1


@njit(nogil=True, cache=True, error_model="numpy")
def gather(x, weights, bias, out, kernel, stride, padding, band, lane, lanes):  # type: ignore[no-untyped-def]
    """Every ``lanes``-th band of ``band`` rows of the output, from ``lane`` on: spikes are not spread evenly over time.

    Shape:
        x [N, H, W, C_in], weights [kh·kw·C_in, C_out], bias [C_out], out [N, H', W', C_out]; kernel, stride and padding
        are pairs of y, x.
    """
    frames, height, width, channels = x.shape
    bands = -(-out.shape[1] // band)
    reach = min(height, (band - 1) * stride[0] + kernel[0])
    active, starts = np.empty((reach, width * channels), np.int32), np.empty((reach, width + 1), np.int32)
    rows, values = np.empty(weights.shape[0], np.int32), np.empty(weights.shape[0], x.dtype)
    for part in range(lane, frames * bands, lanes):
        frame, begin = part // bands, part % bands * band
        end = min(begin + band, out.shape[1])
        first = min(height, max(0, begin * stride[0] - padding[0]))
        last = max(first, min(height, (end - 1) * stride[0] - padding[0] + kernel[0]))
        seen = x[frame].reshape(height, width * channels)
        for y in range(first, last):
            list_active(seen[y], active[y - first], starts[y - first])
        for y in range(begin, end):
            top = y * stride[0] - padding[0]
            upper, lower = max(first, top), min(last, top + kernel[0])
            for place in range(out.shape[2]):
                left = place * stride[1] - padding[1]
                near, far = min(width, max(0, left)), max(0, min(width, left + kernel[1]))
                count = 0
                for row in range(upper, lower):
                    inputs, shift = seen[row], ((row - top) * kernel[1] - left) * channels
                    listed = active[row - first]
                    for k in range(starts[row - first, near], starts[row - first, far]):
                        rows[count], values[count] = listed[k] + shift, inputs[listed[k]]
                        count += 1
                sums = out[frame, y, place]
                sums[:] = bias
                add_rows(rows, values, count, weights, sums)
