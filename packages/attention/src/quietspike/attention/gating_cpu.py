"""The passes of multi-dimensional attention, and of ASA, over features, on a CPU.

Features lie in memory as [T, B, P, C] with P = H·W. Gates come in G groups: planes are [G, T, B, C], places
[G, S, B, P] with S = T or 1 (one map for all steps). A kernel does the parts ``start`` to ``stop`` of what its
docstring says, and can run beside itself on others.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quietspike.core.kernels.numbers_cpu import kept, load

LANES = 4096
"""Sums that a kernel keeps at once over the steps: few enough to stay in the processor's cache."""


@njit(nogil=True, cache=True, error_model="numpy")
def plane_statistics(x, means, maxima, ties, start, stop):  # type: ignore[no-untyped-def]
    """Of each plane the mean, the maximum and how many places have it; parts are of T·B."""
    _, batch, places, channels = x.shape
    one = means.dtype.type(1)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        total, most, count = means[t, b], maxima[t, b], ties[t, b]
        first = x[t, b, 0]
        for c in range(channels):
            total[c], most[c], count[c] = load(first[c]), load(first[c]), one
        for place in range(1, places):
            row = x[t, b, place]
            for c in range(channels):
                value = load(row[c])
                total[c] += value
                more = count[c] + one if value == most[c] else count[c]
                count[c] = one if value > most[c] else more
                most[c] = value if value > most[c] else most[c]
        for c in range(channels):
            total[c] /= places


@njit(nogil=True, cache=True, error_model="numpy")
def place_statistics(x, planes, means, maxima, ties, rows, start, stop):  # type: ignore[no-untyped-def]
    """Of each group and place mean, maximum, ties of planes · x over C and T / S steps; parts are of B·⌈P / rows⌉."""
    steps, _, places, channels = x.shape
    groups, maps = means.shape[:2]
    each, blocks = steps // maps, -(-places // rows)
    one, zero = means.dtype.type(1), means.dtype.type(0)
    sums = np.empty((groups, rows, channels), planes.dtype)
    most, count = np.empty_like(sums), np.empty_like(sums)
    for part in range(start, stop):
        b, begin = part // blocks, part % blocks * rows
        end = min(begin + rows, places)
        for shown in range(maps):
            for t in range(shown * each, (shown + 1) * each):
                for place in range(begin, end):
                    row, at = x[t, b, place], place - begin
                    for group in range(groups):
                        weights = planes[group, t, b]
                        s, m, n = sums[group, at], most[group, at], count[group, at]
                        if t == shown * each:
                            for c in range(channels):
                                value = weights[c] * load(row[c])
                                s[c], m[c], n[c] = value, value, one
                        else:
                            for c in range(channels):
                                value = weights[c] * load(row[c])
                                s[c] += value
                                more = n[c] + one if value == m[c] else n[c]
                                n[c] = one if value > m[c] else more
                                m[c] = value if value > m[c] else m[c]
            for group in range(groups):
                for place in range(begin, end):
                    at = place - begin
                    s, m, n = sums[group, at], most[group, at], count[group, at]
                    total, top, tied = zero, m[0], zero
                    for c in range(channels):
                        total += s[c]
                        top = m[c] if m[c] > top else top
                    for c in range(channels):
                        tied += n[c] if m[c] == top else zero
                    means[group, shown, b, place] = total / (each * channels)
                    maxima[group, shown, b, place] = top
                    ties[group, shown, b, place] = tied


@njit(nogil=True, cache=True, error_model="numpy")
def apply_gates(x, planes, places, relu, out, start, stop):  # type: ignore[no-untyped-def]
    """Multiply x by the groups' sum of planes · places, and with ``relu`` cut what is negative; parts are of T·B."""
    steps, batch, size, channels = x.shape
    groups, maps = places.shape[:2]
    each = steps // maps
    zero = planes.dtype.type(0)
    gates = np.empty(channels, planes.dtype)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        for place in range(size):
            row, o = x[t, b, place], out[t, b, place]
            gates[:] = zero
            for group in range(groups):
                weights, gate = planes[group, t, b], places[group, t // each, b, place]
                for c in range(channels):
                    gates[c] += weights[c] * gate
            if relu:
                for c in range(channels):
                    value = load(row[c]) * gates[c]
                    o[c] = kept(zero if value < zero else value, o)  # which lets through what is no number
            else:
                for c in range(channels):
                    o[c] = kept(load(row[c]) * gates[c], o)


@njit(nogil=True, cache=True, error_model="numpy")
def place_gradients(x, planes, gradients, relu, found, rows, start, stop):  # type: ignore[no-untyped-def]
    """Of each group and place the sum of planes · x · gradients; parts are of B·⌈P / rows⌉."""
    steps, _, places, channels = x.shape
    groups, maps = found.shape[:2]
    each, blocks = steps // maps, -(-places // rows)
    zero = planes.dtype.type(0)
    sums = np.empty((groups, rows, channels), planes.dtype)
    for part in range(start, stop):
        b, begin = part // blocks, part % blocks * rows
        end = min(begin + rows, places)
        for shown in range(maps):
            sums[:] = zero
            for t in range(shown * each, (shown + 1) * each):
                for place in range(begin, end):
                    row, g = x[t, b, place], gradients[t, b, place]
                    for group in range(groups):
                        weights, s = planes[group, t, b], sums[group, place - begin]
                        for c in range(channels):
                            value = load(row[c])
                            s[c] += weights[c] * value * (load(g[c]) if value > zero or not relu else zero)
            for group in range(groups):
                for place in range(begin, end):
                    total, s = zero, sums[group, place - begin]
                    for c in range(channels):
                        total += s[c]
                    found[group, shown, b, place] = total


@njit(nogil=True, cache=True, error_model="numpy")
def plane_gradients(  # type: ignore[no-untyped-def]
    x, planes, places, gradients, relu, means, maxima, shares, found, start, stop
):
    """Of each group and plane the sum of x · D; parts are of T·B.

    D is the gradient of planes · x: places · gradients, and what comes through the places' statistics: ``means`` for
    every feature and ``shares`` for those that are at ``maxima``.
    """
    steps, batch, size, channels = x.shape
    groups, maps = places.shape[:2]
    each = steps // maps
    zero = planes.dtype.type(0)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        shown = t // each
        found[:, t, b] = zero
        for place in range(size):
            row, g = x[t, b, place], gradients[t, b, place]
            for group in range(groups):
                weights, total = planes[group, t, b], found[group, t, b]
                gate, mean = places[group, shown, b, place], means[group, shown, b, place]
                top, share = maxima[group, shown, b, place], shares[group, shown, b, place]
                for c in range(channels):
                    value = load(row[c])
                    passed = load(g[c]) if value > zero or not relu else zero
                    total[c] += value * (gate * passed + mean + (share if weights[c] * value == top else zero))


@njit(nogil=True, cache=True, error_model="numpy")
def feature_gradients(  # type: ignore[no-untyped-def]
    x, planes, places, gradients, relu, means, maxima, shares, plane_means, plane_maxima, plane_shares, out, start, stop
):
    """Of each feature the sum of planes · D, see ``plane_gradients``, and what comes through its plane's statistics."""
    steps, batch, size, channels = x.shape
    groups, maps = places.shape[:2]
    each = steps // maps
    zero = planes.dtype.type(0)
    sums = np.empty(channels, planes.dtype)
    for part in range(start, stop):
        t, b = part // batch, part % batch
        shown = t // each
        every, tops, extra = plane_means[t, b], plane_maxima[t, b], plane_shares[t, b]
        for place in range(size):
            row, g, o = x[t, b, place], gradients[t, b, place], out[t, b, place]
            for c in range(channels):
                sums[c] = every[c] + (extra[c] if load(row[c]) == tops[c] else zero)
            for group in range(groups):
                weights = planes[group, t, b]
                gate, mean = places[group, shown, b, place], means[group, shown, b, place]
                top, share = maxima[group, shown, b, place], shares[group, shown, b, place]
                for c in range(channels):
                    value = load(row[c])
                    passed = load(g[c]) if value > zero or not relu else zero
                    d = gate * passed + mean + (share if weights[c] * value == top else zero)
                    sums[c] += weights[c] * d
            for c in range(channels):
                o[c] = kept(sums[c], o)
