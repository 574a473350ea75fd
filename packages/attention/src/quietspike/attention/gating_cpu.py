"""The passes of multi-dimensional attention over features, on a CPU.

Features lie in memory as [T, B, P, C] with P = H·W, planes are [T, B, C], places [S, B, P] with S = T or 1 (one for all
steps). A kernel does the parts ``start`` to ``stop`` of what its docstring says, and can run beside itself on others.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LANES = 4096
"""Sums that a kernel keeps at once over the steps: few enough to stay in the processor's cache."""


@njit(nogil=True, cache=True, error_model="numpy")
def plane_statistics(x, means, maxima, ties, start, stop):  # type: ignore[no-untyped-def]
    """Of each plane the mean, the maximum and how many places have it; parts are of T·B."""
    _, batch, places, channels = x.shape
    one = x.dtype.type(1)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        total, most, count = means[t, b], maxima[t, b], ties[t, b]
        first = x[t, b, 0]
        for c in range(channels):
            total[c], most[c], count[c] = first[c], first[c], one
        for place in range(1, places):
            row = x[t, b, place]
            for c in range(channels):
                value = row[c]
                total[c] += value
                more = count[c] + one if value == most[c] else count[c]
                count[c] = one if value > most[c] else more
                most[c] = value if value > most[c] else most[c]
        for c in range(channels):
            total[c] /= places


@njit(nogil=True, cache=True, error_model="numpy")
def place_statistics(x, planes, means, maxima, ties, rows, start, stop):  # type: ignore[no-untyped-def]
    """Of each place mean, maximum and ties of planes · x over C and T / S steps; parts are of B·⌈P / rows⌉."""
    steps, _, places, channels = x.shape
    groups = means.shape[0]
    each, blocks = steps // groups, -(-places // rows)
    one, zero = x.dtype.type(1), x.dtype.type(0)
    sums = np.empty((rows, channels), x.dtype)
    most, count = np.empty_like(sums), np.empty_like(sums)
    for part in range(start, stop):
        b, begin = part // blocks, part % blocks * rows
        end = min(begin + rows, places)
        for group in range(groups):
            for t in range(group * each, (group + 1) * each):
                weights = planes[t, b]
                for place in range(begin, end):
                    row, s, m, n = x[t, b, place], sums[place - begin], most[place - begin], count[place - begin]
                    if t == group * each:
                        for c in range(channels):
                            value = weights[c] * row[c]
                            s[c], m[c], n[c] = value, value, one
                    else:
                        for c in range(channels):
                            value = weights[c] * row[c]
                            s[c] += value
                            more = n[c] + one if value == m[c] else n[c]
                            n[c] = one if value > m[c] else more
                            m[c] = value if value > m[c] else m[c]
            for place in range(begin, end):
                s, m, n = sums[place - begin], most[place - begin], count[place - begin]
                total, top, tied = zero, m[0], zero
                for c in range(channels):
                    total += s[c]
                    top = m[c] if m[c] > top else top
                for c in range(channels):
                    tied += n[c] if m[c] == top else zero
                means[group, b, place] = total / (each * channels)
                maxima[group, b, place] = top
                ties[group, b, place] = tied


@njit(nogil=True, cache=True, error_model="numpy")
def apply_gates(x, planes, places, relu, out, start, stop):  # type: ignore[no-untyped-def]
    """Multiply x by planes and places, and with ``relu`` cut what is negative; parts are of T·B."""
    steps, batch, size, channels = x.shape
    each = steps // places.shape[0]
    zero = x.dtype.type(0)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        weights, gates = planes[t, b], places[t // each, b]
        for place in range(size):
            row, o, gate = x[t, b, place], out[t, b, place], gates[place]
            if relu:
                for c in range(channels):
                    value = weights[c] * row[c] * gate
                    o[c] = zero if value < zero else value  # which lets through what is no number
            else:
                for c in range(channels):
                    o[c] = weights[c] * row[c] * gate


@njit(nogil=True, cache=True, error_model="numpy")
def place_gradients(x, planes, gradients, relu, found, rows, start, stop):  # type: ignore[no-untyped-def]
    """Of each place the sum of planes · x · gradients; parts are of B·⌈P / rows⌉."""
    steps, _, places, channels = x.shape
    groups = found.shape[0]
    each, blocks = steps // groups, -(-places // rows)
    zero = x.dtype.type(0)
    sums = np.empty((rows, channels), x.dtype)
    for part in range(start, stop):
        b, begin = part // blocks, part % blocks * rows
        end = min(begin + rows, places)
        for group in range(groups):
            sums[:] = zero
            for t in range(group * each, (group + 1) * each):
                weights = planes[t, b]
                for place in range(begin, end):
                    row, g, s = x[t, b, place], gradients[t, b, place], sums[place - begin]
                    for c in range(channels):
                        passed = g[c] if row[c] > zero or not relu else zero
                        s[c] += weights[c] * row[c] * passed
            for place in range(begin, end):
                total, s = zero, sums[place - begin]
                for c in range(channels):
                    total += s[c]
                found[group, b, place] = total


@njit(nogil=True, cache=True, error_model="numpy")
def plane_gradients(  # type: ignore[no-untyped-def]
    x, planes, places, gradients, relu, means, maxima, shares, found, start, stop
):
    """Of each plane the sum of x · D; parts are of T·B.

    D is the gradient of planes · x: places · gradients, and what comes through the places' statistics: ``means`` for
    every feature and ``shares`` for those that are at ``maxima``.
    """
    steps, batch, size, channels = x.shape
    each = steps // places.shape[0]
    zero = x.dtype.type(0)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        group = t // each
        weights, total = planes[t, b], found[t, b]
        total[:] = zero
        for place in range(size):
            row, g = x[t, b, place], gradients[t, b, place]
            gate, mean = places[group, b, place], means[group, b, place]
            top, share = maxima[group, b, place], shares[group, b, place]
            for c in range(channels):
                passed = g[c] if row[c] > zero or not relu else zero
                d = gate * passed + mean + (share if weights[c] * row[c] == top else zero)
                total[c] += row[c] * d


@njit(nogil=True, cache=True, error_model="numpy")
def feature_gradients(  # type: ignore[no-untyped-def]
    x, planes, places, gradients, relu, means, maxima, shares, plane_means, plane_maxima, plane_shares, out, start, stop
):
    """Of each feature planes · D, see ``plane_gradients``, and what comes through its plane's statistics."""
    steps, batch, size, channels = x.shape
    each = steps // places.shape[0]
    zero = x.dtype.type(0)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        group = t // each
        weights = planes[t, b]
        every, tops, extra = plane_means[t, b], plane_maxima[t, b], plane_shares[t, b]
        for place in range(size):
            row, g, o = x[t, b, place], gradients[t, b, place], out[t, b, place]
            gate, mean = places[group, b, place], means[group, b, place]
            top, share = maxima[group, b, place], shares[group, b, place]
            for c in range(channels):
                passed = g[c] if row[c] > zero or not relu else zero
                d = gate * passed + mean + (share if weights[c] * row[c] == top else zero)
                o[c] = weights[c] * d + every[c] + (extra[c] if row[c] == tops[c] else zero)
