"""Leaky neurons over all steps in one pass each way, on a CPU.

Kernels see memory as [T, N] and go over N in parts: a part's states stay in the processor's cache while time goes on.
Backwards the potentials are computed anew, so that nothing is kept but the currents.

A kernel is made for each kind of neuron, and compiled for each type of numbers, once: numba keeps it on the disk.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeAlias, cast

import numpy as np
from numba import njit

Kernel: TypeAlias = Callable[..., None]

RECTANGULAR, ATAN, SIGMOID, FAST_SIGMOID = range(4)
SURROGATES = {"rectangular": RECTANGULAR, "atan": ATAN, "sigmoid": SIGMOID, "fast_sigmoid": FAST_SIGMOID}


@functools.cache
def forward_kernel(parametric: bool, subtract: bool) -> Kernel:
    """Spikes from currents.

    ``kernel(currents, spikes, start, stop, part, leak, threshold, value)`` with both tensors as [T, N]: writes the
    spikes of neurons start to stop. ``leak`` is the decay, or σ(w) of a parametric neuron; ``value`` is H after a spike
    (V_reset of a parametric one).
    """

    @njit(nogil=True, cache=True, error_model="numpy")
    def kernel(currents, spikes, start, stop, part, leak, threshold, value):  # type: ignore[no-untyped-def]
        held = np.empty(part, currents.dtype)
        zero, one = currents.dtype.type(0), currents.dtype.type(1)
        for begin in range(start, stop, part):
            end = min(begin + part, stop)
            h = held[: end - begin]
            h[:] = value if parametric else zero
            for t in range(currents.shape[0]):
                x, s = currents[t, begin:end], spikes[t, begin:end]
                for i in range(h.shape[0]):
                    u = h[i] + (x[i] - (h[i] - value)) * leak if parametric else h[i] + x[i]
                    fires = u - threshold >= zero
                    s[i] = one if fires else zero
                    if parametric:
                        h[i] = u - (u - value) if fires else u
                    elif subtract:
                        h[i] = leak * (u - threshold) if fires else leak * u
                    else:
                        h[i] = value if fires else leak * u

    return cast(Kernel, kernel)


@functools.cache
def backward_kernel(parametric: bool, subtract: bool, surrogate: str, detached: bool) -> Kernel:
    """Gradients of currents, and of the leak, from those of spikes.

    ``kernel(currents, gradients, out, leaks, start, stop, part, leak, threshold, value, scale)``: ``leaks[k]`` gets the
    gradient of the leak from the k-th part, where the neuron is parametric.
    """
    bump = SURROGATES[surrogate]

    @njit(nogil=True, cache=True, error_model="numpy")
    def kernel(currents, gradients, out, leaks, start, stop, part, leak, threshold, value, scale):  # type: ignore[no-untyped-def]
        number = currents.dtype.type
        steps = currents.shape[0]
        held, potentials = np.empty(part, currents.dtype), np.empty((steps, part), currents.dtype)
        zero, one = number(0), number(1)
        peak = one / (scale + scale)
        for begin in range(start, stop, part):
            end = min(begin + part, stop)
            h = held[: end - begin]
            h[:] = value if parametric else zero
            for t in range(steps):
                x, p = currents[t, begin:end], potentials[t]
                for i in range(h.shape[0]):
                    u = h[i] + (x[i] - (h[i] - value)) * leak if parametric else h[i] + x[i]
                    p[i] = u
                    fires = u - threshold >= zero
                    if parametric:
                        h[i] = u - (u - value) if fires else u
                    elif subtract:
                        h[i] = leak * (u - threshold) if fires else leak * u
                    else:
                        h[i] = value if fires else leak * u
            h[:] = zero  # from here on the gradient of H
            for t in range(steps - 1, -1, -1):
                g, o, p = gradients[t, begin:end], out[t, begin:end], potentials[t]
                for i in range(h.shape[0]):
                    u = p[i]
                    excess = u - threshold
                    if bump == RECTANGULAR:
                        slope = peak if abs(excess) < scale else zero
                    elif bump == ATAN:
                        bent = number(math.pi / 2) * scale * excess
                        slope = scale / number(2) / (one + bent * bent)
                    elif bump == SIGMOID:
                        up = one / (one + np.exp(-scale * excess))
                        slope = scale * up * (one - up)
                    else:
                        bent = one + scale * abs(excess)
                        slope = one / (bent * bent)
                    fires = excess >= zero
                    if parametric:
                        through, jump = zero if fires else one, value - u
                    elif subtract:
                        through, jump = leak, -leak * threshold
                    else:
                        through, jump = zero if fires else leak, value - leak * u
                    spike = g[i] if detached else g[i] + h[i] * jump
                    o[i] = spike * slope + h[i] * through
                    h[i] = o[i] * (one - leak) if parametric else o[i]
                if parametric:
                    total = 0.0
                    if t > 0:
                        x, before = currents[t, begin:end], potentials[t - 1]
                        for i in range(h.shape[0]):
                            u = before[i]
                            kept = u - (u - value) if u - threshold >= zero else u
                            total += o[i] * (x[i] - (kept - value))
                    else:
                        x = currents[t, begin:end]
                        for i in range(h.shape[0]):
                            total += o[i] * x[i]
                    leaks[begin // part] += total
                    for i in range(h.shape[0]):
                        o[i] *= leak

    return cast(Kernel, kernel)
