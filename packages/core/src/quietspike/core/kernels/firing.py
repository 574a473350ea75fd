"""A leaky neuron over all steps as one operator, ``quietspike::fire``, with its gradient.

    U[t] = H[t-1] + X[t];   U[t] = H[t-1] + (X[t] - (H[t-1] - V_reset)) k   where it is parametric, k = σ(w)
    S[t] = 1 where U[t] ≥ V_th, else 0
    H[t] = decay · U[t]  (parametric: U[t]),  after a spike the reset's;  H[-1] = 0  (parametric: V_reset)

The plain twin is a neuron's ``step``, called T times: the same spikes, and gradients that differ by rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quietspike.core.kernels.memory import as_rows, dense, like, number_of
from quietspike.core.kernels.threads import over_parts
from quietspike.core.surrogates import Surrogate

SCRATCH = 2**20
"""Bytes of the potentials that a part keeps, so that they stay in the processor's cache."""

SHORTEST, LONGEST = 256, 16384
"""Neurons of a part: enough for long runs of memory, and no more than that takes."""


def fire_all(
    current: Tensor,
    surrogate: Surrogate,
    *,
    threshold: float,
    value: float,
    detached: bool,
    decay: float = 1.0,
    leak: Tensor | None = None,
    subtract: bool = False,
) -> Tensor:
    """Spikes of all steps from rest; the arguments are those of ``fire``."""
    constants = decay, threshold, value, subtract, surrogate.name, surrogate.scale, detached
    spikes: Tensor = fire(current, leak, *constants)
    return spikes


@torch.library.custom_op("quietspike::fire", mutates_args=(), device_types="cpu")
def fire(
    current: Tensor,
    leak: Tensor | None,
    decay: float,
    threshold: float,
    value: float,
    subtract: bool,
    surrogate: str,
    scale: float,
    detached: bool,
) -> Tensor:
    """Spikes [T, B, ...] of currents.

    Args:
        current: [T, B, ...].
        leak: k of a parametric neuron, one number; ``None`` for others.
        decay: of other neurons.
        threshold: V_th.
        value: H after a spike (V_reset of a parametric neuron); nothing where the threshold is subtracted.
        subtract: reset by taking the threshold off; not with ``leak``.
        surrogate: one of ``surrogates.SURROGATES``.
        scale: its parameter.
        detached: whether gradients keep out of the reset.

    Shape:
        [T, B, ...] → the same.
    """
    from quietspike.core.kernels import firing_cpu  # numba takes half a second to import

    x = dense(current)
    spikes = torch.empty_like(x)
    part, number = _part(x), number_of(x)
    kernel = firing_cpu.forward_kernel(leak is not None, subtract, number)
    currents, sent = as_rows(x), as_rows(spikes)
    constants = number(decay if leak is None else leak.item()), number(threshold), number(value)
    over_parts(lambda start, stop: kernel(currents, sent, start, stop, part, *constants), currents.shape[1], part)
    return spikes.to(current.dtype)


@torch.library.custom_op("quietspike::fire_backward", mutates_args=(), device_types="cpu")
def fire_backward(
    gradient: Tensor,
    current: Tensor,
    leak: Tensor | None,
    decay: float,
    threshold: float,
    value: float,
    subtract: bool,
    surrogate: str,
    scale: float,
    detached: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``fire`` by currents and leak; the latter without meaning where there is none."""
    from quietspike.core.kernels import firing_cpu

    x = dense(current)
    g = like(gradient, x)
    out = torch.empty_like(x)
    part, number = _part(x), number_of(x)
    kernel = firing_cpu.backward_kernel(leak is not None, subtract, surrogate, detached, number)
    currents, gradients, found = as_rows(x), as_rows(g), as_rows(out)
    size = currents.shape[1]
    leaks = np.zeros(-(-size // part))
    rates = number(decay if leak is None else leak.item()), number(threshold), number(value)
    constants = *rates, number(scale), number(math.pi / 2 * scale)
    over_parts(lambda start, stop: kernel(currents, gradients, found, leaks, start, stop, part, *constants), size, part)
    return out.to(current.dtype), torch.tensor(leaks.sum(), dtype=torch.float32 if leak is None else leak.dtype)


@fire.register_kernel("cuda")
def fire_on_gpu(*given: Any) -> Tensor:
    """``fire`` in Triton; on AMD's GPUs as well, which PyTorch calls cuda, too."""
    from quietspike.core.kernels import firing_cuda  # Triton is needed, and there, where there is a GPU

    return firing_cuda.fire(*given)


@fire_backward.register_kernel("cuda")
def fire_backward_on_gpu(*given: Any) -> tuple[Tensor, Tensor]:
    """``fire_backward`` in Triton."""
    from quietspike.core.kernels import firing_cuda

    return firing_cuda.fire_backward(*given)


@fire.register_fake
def _(current: Tensor, *constants: Any) -> Tensor:
    return torch.empty_like(current)


@fire_backward.register_fake
def _(gradient: Tensor, current: Tensor, leak: Tensor | None, *constants: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(current), (current if leak is None else leak).new_empty(())


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    current, leak, *ctx.constants = inputs
    ctx.save_for_backward(current, leak)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    by_current, by_leak = fire_backward(gradient, *ctx.saved_tensors, *ctx.constants)
    return by_current, None if ctx.saved_tensors[1] is None else by_leak, *[None] * len(ctx.constants)


fire.register_autograd(_differentiate, setup_context=_keep)


def _part(x: Tensor) -> int:
    """Neurons of a part; potentials are of at least four bytes."""
    return min(LONGEST, max(SHORTEST, SCRATCH // (max(4, x.element_size()) * max(1, x.shape[0]))))
