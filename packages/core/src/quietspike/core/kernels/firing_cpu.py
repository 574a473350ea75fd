"""Leaky neurons over all steps in one pass each way, on a CPU.

Kernels see memory as [T, N] and go over N in parts: a part's states stay in the processor's cache while time goes on.
Backwards the potentials are computed anew, so that nothing is kept but the currents.

A kernel is made for each kind of neuron and number, and compiled for each type of memory, once: numba keeps it on the
disk, under what the kernel closes over, which must be plain constants (other kernels have another name in each
process). What a loop does not need is left out when its kernel is compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
from numba import njit

from quietspike.core.kernels.numbers_cpu import exp, inside, kept, load

Kernel: TypeAlias = Callable[..., None]

RECTANGULAR, ATAN, SIGMOID, FAST_SIGMOID = range(4)
SURROGATES = {"rectangular": RECTANGULAR, "atan": ATAN, "sigmoid": SIGMOID, "fast_sigmoid": FAST_SIGMOID}

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
"""Exact in float64 as well; numbers of Python would widen float32."""


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

    @njit(nogil=True, cache=True, error_model="numpy")
    def kernel(currents, spikes, start, stop, part, leak, threshold, value):  # type: ignore[no-untyped-def]
        held = np.empty(part, number)
        for begin in range(start, stop, part):
            end = min(begin + part, stop)
            h = held[: end - begin]
            h[:] = value if parametric else ZERO
            for t in range(currents.shape[0]):
                x, s = currents[t, begin:end], spikes[t, begin:end]
                for i in range(h.shape[0]):
                    u = _charge(h[i], load(x[i]), leak, value, parametric)
                    s[i] = kept(number(ONE) if u - threshold >= ZERO else number(ZERO), s)
                    h[i] = _reset(u, leak, threshold, value, parametric, subtract)

    return cast(Kernel, kernel)


@functools.cache
def backward_kernel(parametric: bool, subtract: bool, surrogate: str, detached: bool, number: Any) -> Kernel:
    """Gradients of currents, and of the leak, from those of spikes.

    ``kernel(currents, gradients, out, leaks, start, stop, part, leak, threshold, value, scale, bend)``: ``leaks[k]``
    gets the gradient of the leak from the k-th part, where the neuron is parametric; ``bend`` is π/2 · scale.
    """
    bump = SURROGATES[surrogate]

    @njit(nogil=True, cache=True, error_model="numpy")
    def kernel(currents, gradients, out, leaks, start, stop, part, leak, threshold, value, scale, bend):  # type: ignore[no-untyped-def]
        held, sums = np.empty((2, part), number)
        potentials = np.empty((currents.shape[0], part), number)
        for begin in range(start, stop, part):
            end = min(begin + part, stop)
            h, by_leak = held[: end - begin], sums[: end - begin]
            h[:] = value if parametric else ZERO
            _advance(currents, potentials, h, begin, end, leak, threshold, value, parametric, subtract)
            h[:] = ZERO  # from here on the gradient of H
            by_leak[:] = ZERO
            given = gradients, out, potentials, h, begin, end
            constants = leak, threshold, value, scale, bend
            if parametric:
                _learning(currents, given, by_leak, constants, bump, detached)
                for i in range(by_leak.shape[0]):
                    leaks[begin // part] += by_leak[i]
            else:
                _leaky(given, constants, bump, detached, subtract)

    return cast(Kernel, kernel)


# The loops stand in functions of their own, taken into kernels: written out in one, they are not made into vectors.


@inside
def _advance(currents, potentials, h, begin, end, leak, threshold, value, parametric, subtract):  # type: ignore[no-untyped-def]
    """Potentials of all steps."""
    for t in range(currents.shape[0]):
        x, p = currents[t, begin:end], potentials[t]
        for i in range(h.shape[0]):
            u = _charge(h[i], load(x[i]), leak, value, parametric)
            p[i] = u
            h[i] = _reset(u, leak, threshold, value, parametric, subtract)


@inside
def _leaky(given, constants, bump, detached, subtract):  # type: ignore[no-untyped-def]
    """Back through all steps."""
    gradients, out, potentials, h, begin, end = given
    leak, threshold, value, scale, bend = constants
    for t in range(gradients.shape[0] - 1, -1, -1):
        g, o, p = gradients[t, begin:end], out[t, begin:end], potentials[t]
        for i in range(h.shape[0]):
            u = p[i]
            if subtract:
                by_u, by_spike = leak, -leak * threshold
            else:
                by_u, by_spike = ZERO if u - threshold >= ZERO else leak, value - leak * u
            spike = load(g[i]) if detached else load(g[i]) + h[i] * by_spike
            found = spike * _slope(u - threshold, scale, bend, bump) + h[i] * by_u
            h[i] = found
            o[i] = kept(found, o)


@inside
def _learning(currents, given, leaks, constants, bump, detached):  # type: ignore[no-untyped-def]
    """Back through all steps of a parametric neuron."""
    gradients, out, potentials, h, begin, end = given
    leak, threshold, value, scale, bend = constants
    for t in range(gradients.shape[0] - 1, -1, -1):
        x, g, o, p = currents[t, begin:end], gradients[t, begin:end], out[t, begin:end], potentials[t]
        before = potentials[max(t - 1, 0)]
        for i in range(h.shape[0]):
            u = p[i]
            by_u = ZERO if u - threshold >= ZERO else ONE
            spike = load(g[i]) if detached else load(g[i]) + h[i] * (value - u)
            found = spike * _slope(u - threshold, scale, bend, bump) + h[i] * by_u
            rest = _reset(before[i], leak, threshold, value, True, False) if t > 0 else value
            leaks[i] += found * (load(x[i]) - (rest - value))
            h[i] = found * (ONE - leak)
            o[i] = kept(found * leak, o)


@inside
def _charge(h, x, leak, value, parametric):  # type: ignore[no-untyped-def]
    """U of H and X."""
    return h + (x - (h - value)) * leak if parametric else h + x


@inside
def _reset(u, leak, threshold, value, parametric, subtract):  # type: ignore[no-untyped-def]
    """H of U, in the order of operations of the plain twins."""
    fires = u - threshold >= ZERO
    if parametric:
        return u - (u - value) if fires else u
    if subtract:
        return leak * (u - threshold) if fires else leak * u
    return value if fires else leak * u


@inside
def _slope(x, scale, bend, bump):  # type: ignore[no-untyped-def]
    """The surrogate gradient at x = U − V_th."""
    if bump == RECTANGULAR:
        return HALF / scale if abs(x) < scale else scale - scale
    if bump == ATAN:
        return scale * HALF / (ONE + (bend * x) * (bend * x))
    if bump == SIGMOID:
        down = exp(-scale * abs(x))  # σ(αx) (1 − σ(αx)) is the same on both sides
        return scale * down / ((ONE + down) * (ONE + down))
    return ONE / ((ONE + scale * abs(x)) * (ONE + scale * abs(x)))
