"""Leaky neurons over all steps in one pass each way, on a CPU.

Kernels see memory as [T, N] and go over N in parts: a part's states stay in the processor's cache while time goes on.
Backwards the potentials are computed anew, so that nothing is kept but the currents.

A kernel is made for each kind of neuron and number, and compiled for each type of memory, once: numba keeps it on the
disk. What a loop does not need is left out when its kernel is made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
from numba import njit

from quietspike.core.kernels.numbers_cpu import exp, inside, kept, load

Kernel: TypeAlias = Callable[..., None]


@functools.cache
def forward_kernel(parametric: bool, subtract: bool, number: Any) -> Kernel:
    """Spikes from currents.

    ``kernel(currents, spikes, start, stop, part, leak, threshold, value)`` with both tensors as [T, N]: writes the
    spikes of neurons start to stop. ``leak`` is the decay, or σ(w) of a parametric neuron; ``value`` is H after a spike
    (V_reset of a parametric one).

    Args:
        parametric: whether the leak weighs currents, too.
        subtract: whether a reset takes the threshold off.
        number: what to compute in, ``np.float32`` or ``np.float64``.
    """
    zero, one = number(0), number(1)
    charge, reset = _charge(parametric), _reset(parametric, subtract, number)

    @njit(nogil=True, cache=True, error_model="numpy")
    def kernel(currents, spikes, start, stop, part, leak, threshold, value):  # type: ignore[no-untyped-def]
        held = np.empty(part, number)
        for begin in range(start, stop, part):
            end = min(begin + part, stop)
            h = held[: end - begin]
            h[:] = value if parametric else zero
            for t in range(currents.shape[0]):
                x, s = currents[t, begin:end], spikes[t, begin:end]
                for i in range(h.shape[0]):
                    u = charge(h[i], load(x[i]), leak, value)
                    s[i] = kept(one if u - threshold >= zero else zero, s)
                    h[i] = reset(u, leak, threshold, value)

    return cast(Kernel, kernel)


@functools.cache
def backward_kernel(parametric: bool, subtract: bool, surrogate: str, detached: bool, number: Any) -> Kernel:
    """Gradients of currents, and of the leak, from those of spikes.

    ``kernel(currents, gradients, out, leaks, start, stop, part, leak, threshold, value, scale)``: ``leaks[k]`` gets the
    gradient of the leak from the k-th part, where the neuron is parametric.
    """
    zero, one = number(0), number(1)
    charge, reset = _charge(parametric), _reset(parametric, subtract, number)
    slope = _SLOPES[surrogate](number)

    # The loops stand in functions of their own, taken in below: written out in one, they are not made into vectors.

    @inside
    def advance(currents, potentials, h, begin, end, leak, threshold, value):  # type: ignore[no-untyped-def]
        for t in range(currents.shape[0]):
            x, p = currents[t, begin:end], potentials[t]
            for i in range(h.shape[0]):
                u = charge(h[i], load(x[i]), leak, value)
                p[i] = u
                h[i] = reset(u, leak, threshold, value)

    @inside
    def leaky(gradients, out, potentials, h, begin, end, leak, threshold, value, scale):  # type: ignore[no-untyped-def]
        for t in range(gradients.shape[0] - 1, -1, -1):
            g, o, p = gradients[t, begin:end], out[t, begin:end], potentials[t]
            for i in range(h.shape[0]):
                u = p[i]
                if subtract:
                    by_u, by_spike = leak, -leak * threshold
                else:
                    by_u, by_spike = zero if u - threshold >= zero else leak, value - leak * u
                spike = load(g[i]) if detached else load(g[i]) + h[i] * by_spike
                found = spike * slope(u - threshold, scale) + h[i] * by_u
                h[i] = found
                o[i] = kept(found, o)

    @inside
    def learning(currents, gradients, out, potentials, h, leaks, begin, end, leak, threshold, value, scale):  # type: ignore[no-untyped-def]
        for t in range(gradients.shape[0] - 1, -1, -1):
            x, g, o, p = currents[t, begin:end], gradients[t, begin:end], out[t, begin:end], potentials[t]
            before = potentials[max(t - 1, 0)]
            for i in range(h.shape[0]):
                u = p[i]
                by_u = zero if u - threshold >= zero else one
                spike = load(g[i]) if detached else load(g[i]) + h[i] * (value - u)
                found = spike * slope(u - threshold, scale) + h[i] * by_u
                rest = reset(before[i], leak, threshold, value) if t > 0 else value
                leaks[i] += found * (load(x[i]) - (rest - value))
                h[i] = found * (one - leak)
                o[i] = kept(found * leak, o)

    @njit(nogil=True, cache=True, error_model="numpy")
    def kernel(currents, gradients, out, leaks, start, stop, part, leak, threshold, value, scale):  # type: ignore[no-untyped-def]
        held, potentials, sums = (
            np.empty(part, number),
            np.empty((currents.shape[0], part), number),
            np.empty(part, number),
        )
        for begin in range(start, stop, part):
            end = min(begin + part, stop)
            h, by_leak = held[: end - begin], sums[: end - begin]
            h[:] = value if parametric else zero
            advance(currents, potentials, h, begin, end, leak, threshold, value)
            h[:] = zero  # from here on the gradient of H
            if parametric:
                by_leak[:] = zero
                learning(currents, gradients, out, potentials, h, by_leak, begin, end, leak, threshold, value, scale)
                for i in range(by_leak.shape[0]):
                    leaks[begin // part] += by_leak[i]
            else:
                leaky(gradients, out, potentials, h, begin, end, leak, threshold, value, scale)

    return cast(Kernel, kernel)


def _charge(parametric: bool) -> Any:
    """U of H and X."""

    @inside
    def charge(h, x, leak, value):  # type: ignore[no-untyped-def]
        return h + (x - (h - value)) * leak if parametric else h + x

    return charge


def _reset(parametric: bool, subtract: bool, number: Any) -> Any:
    """H of U, in the order of operations of the plain twins."""
    zero = number(0)

    @inside
    def reset(u, leak, threshold, value):  # type: ignore[no-untyped-def]
        fires = u - threshold >= zero
        if parametric:
            return u - (u - value) if fires else u
        if subtract:
            return leak * (u - threshold) if fires else leak * u
        return value if fires else leak * u

    return reset


def _rectangular(number: Any) -> Any:
    zero, half = number(0), number(0.5)
    return inside(lambda x, width: half / width if abs(x) < width else zero)


def _atan(number: Any) -> Any:
    half, one, quarter = number(0.5), number(1), number(math.pi / 2)
    return inside(lambda x, alpha: alpha * half / (one + (quarter * alpha * x) * (quarter * alpha * x)))


def _sigmoid(number: Any) -> Any:
    one = number(1)

    @inside
    def slope(x, alpha):  # type: ignore[no-untyped-def]
        down = exp(-alpha * abs(x))  # σ(αx) (1 − σ(αx)) is the same on both sides
        return alpha * down / ((one + down) * (one + down))

    return slope


def _fast_sigmoid(number: Any) -> Any:
    one = number(1)
    return inside(lambda x, k: one / ((one + k * abs(x)) * (one + k * abs(x))))


_SLOPES: dict[str, Callable[[Any], Any]] = {
    "rectangular": _rectangular,
    "atan": _atan,
    "sigmoid": _sigmoid,
    "fast_sigmoid": _fast_sigmoid,
}
