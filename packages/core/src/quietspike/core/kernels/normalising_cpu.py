"""The passes of batch normalisation with average pooling behind it, on a CPU.

Frames lie in memory as [N, H, W, C], pooled ones as [N, H // k, W // k, C]. A kernel does the frames ``start`` to
``stop``, and can run beside itself on others; sums have one row a frame.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quietspike.core.kernels.numbers_cpu import inside, kept, load


@njit(nogil=True, cache=True, error_model="numpy")
def moments(x, pool, shift, pooled, sums, squares, start, stop):  # type: ignore[no-untyped-def]
    """Of each frame the sums of x − shift and of its square; where ``pool`` is over 1, the pooled frames, too."""
    _, height, width, channels = x.shape
    high, wide = (height // pool, width // pool) if pool > 1 else (0, 0)
    share = shift.dtype.type(1 / (pool * pool))
    first, second = np.empty((2, channels), shift.dtype)
    window = np.zeros((max(wide, 1), channels), shift.dtype)
    for n in range(start, stop):
        total, square = sums[n], squares[n]
        total[:] = 0
        square[:] = 0
        for i in range(height):
            first[:] = 0
            second[:] = 0
            windows = wide if i < high * pool else 0
            for j in range(windows):
                for place in range(j * pool, (j + 1) * pool):
                    _add_moments_and_pool(x[n, i, place], shift, first, second, window[j])
            for place in range(windows * pool, width):
                _add_moments(x[n, i, place], shift, first, second)
            for c in range(channels):  # in float64, so that a frame may be large
                total[c] += first[c]
                square[c] += second[c]
            if windows and (i + 1) % pool == 0:
                for j in range(wide):
                    _move(window[j], share, pooled[n, i // pool, j])


@njit(nogil=True, cache=True, error_model="numpy")
def pool_and_scale(x, pool, scale, shift, out, start, stop):  # type: ignore[no-untyped-def]
    """The frames pooled, times scale plus shift."""
    _, high, wide, channels = out.shape
    share = shift.dtype.type(1 / (pool * pool))
    window = np.zeros(channels, shift.dtype)
    for n in range(start, stop):
        for i in range(high):
            for j in range(wide):
                if pool == 1:
                    _scale(x[n, i, j], scale, shift, out[n, i, j])
                else:
                    for place in range(pool * pool):
                        _add(x[n, i * pool + place // pool, j * pool + place % pool], window)
                    _move(window, share, window)
                    _scale(window, scale, shift, out[n, i, j])
                    window[:] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def gradient_sums(pooled, gradients, mean, sums, products, start, stop):  # type: ignore[no-untyped-def]
    """Of each frame the sums of its gradient, and of the gradient times (pooled − mean)."""
    _, high, wide, channels = pooled.shape
    first, second = np.empty((2, channels), mean.dtype)
    for n in range(start, stop):
        total, product = sums[n], products[n]
        total[:] = 0
        product[:] = 0
        for i in range(high):
            first[:] = 0
            second[:] = 0
            for j in range(wide):
                _add_products(pooled[n, i, j], gradients[n, i, j], mean, first, second)
            for c in range(channels):
                total[c] += first[c]
                product[c] += second[c]


@njit(nogil=True, cache=True, error_model="numpy")
def gradient(x, gradients, pool, mean, scale, slope, shift, out, start, stop):  # type: ignore[no-untyped-def]
    """The sum of scale · gradients, slope · (x − mean) and shift; a place has its window's gradient, or none."""
    _, height, width, channels = x.shape
    _, high, wide, _ = gradients.shape
    nothing = np.zeros(channels, gradients.dtype)
    for n in range(start, stop):
        for i in range(height):
            for j in range(width):
                inner = i // pool < high and j // pool < wide
                given = gradients[n, i // pool, j // pool] if inner else nothing
                _pull(x[n, i, j], given, mean, scale, slope, shift, out[n, i, j])


@inside
def _add_moments(row, shift, first, second):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        value = load(row[c]) - shift[c]
        first[c] += value
        second[c] += value * value


@inside
def _add_moments_and_pool(row, shift, first, second, window):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        number = load(row[c])
        value = number - shift[c]
        first[c] += value
        second[c] += value * value
        window[c] += number


@inside
def _add_products(row, given, mean, first, second):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        value = load(given[c])
        first[c] += value
        second[c] += value * (load(row[c]) - mean[c])


@inside
def _add(row, total):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        total[c] += load(row[c])


@inside
def _move(total, share, row):  # type: ignore[no-untyped-def]
    """The mean of a window, which begins anew."""
    for c in range(total.shape[0]):
        mean = total[c] * share
        total[c] = 0
        row[c] = kept(mean, row)


@inside
def _scale(row, scale, shift, out):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        out[c] = kept(load(row[c]) * scale[c] + shift[c], out)


@inside
def _pull(row, given, mean, scale, slope, shift, out):  # type: ignore[no-untyped-def]
    for c in range(row.shape[0]):
        out[c] = kept(scale[c] * load(given[c]) + slope[c] * (load(row[c]) - mean[c]) + shift[c], out)
