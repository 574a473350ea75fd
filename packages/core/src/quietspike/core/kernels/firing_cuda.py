"""Leaky neurons over all steps in one pass each way, on a GPU: kernels in Triton, and what launches them.

Kernels see memory as [T, N]. A program has ``block`` neurons at a time, whose states stay in registers while time goes
on. Backwards there are ``PROGRAMS`` programs at most, which go over the blocks in turn: each computes a block's states
anew and keeps them in a scratch of its own, so that this does not grow with N.

Half-precision numbers are read and written as they are; states are float32. Products and sums are not fused: a fused
one is rounded once instead of twice, and a potential at the threshold would fire in one implementation alone.

Triton compiles a kernel for each kind of neuron and type of numbers, once: it keeps it on the disk.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from quietspike.core.kernels import GPU_TYPES
from quietspike.core.kernels.memory import is_channels_last, like

SHORTEST, LONGEST = 128, 512
"""Neurons of a block: four for each thread of four warps, and fewer where there would be too few programs."""

PROGRAMS = 1024
"""Programs of a backward pass at most; each has a scratch of T blocks."""

_HALF_PI = tl.constexpr(math.pi / 2)


@triton.jit
def _integrate(h, x, k, value, parametric: tl.constexpr):  # type: ignore[no-untyped-def]
    """U of the carried state H and the current X."""
    return h + (x - (h - value)) * k if parametric else h + x


@triton.jit
def _reset(u, k, threshold, value, parametric: tl.constexpr, subtract: tl.constexpr):  # type: ignore[no-untyped-def]
    """H of U."""
    fires = u - threshold >= 0
    if parametric:
        h = tl.where(fires, u - (u - value), u)
    elif subtract:
        h = tl.where(fires, k * (u - threshold), k * u)
    else:
        h = tl.where(fires, value, k * u)
    return h


@triton.jit
def _slope(excess, scale, surrogate: tl.constexpr):  # type: ignore[no-untyped-def]
    """The surrogate's derivative at U − V_th."""
    if surrogate == "rectangular":
        slope = tl.where(tl.abs(excess) < scale, 1.0 / (scale + scale), 0.0)
    elif surrogate == "atan":
        bent = _HALF_PI * scale * excess
        slope = scale / 2.0 / (1.0 + bent * bent)
    elif surrogate == "sigmoid":
        down = tl.exp(-scale * tl.abs(excess))  # of -|x|: σ(x) σ(-x) is even, and nothing overflows
        slope = scale * down / ((1.0 + down) * (1.0 + down))
    else:
        tl.static_assert(surrogate == "fast_sigmoid")
        bent = 1.0 + scale * tl.abs(excess)
        slope = 1.0 / (bent * bent)
    return slope


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    currents,
    spikes,
    leak,
    steps,
    size,
    decay,
    threshold,
    value,
    parametric: tl.constexpr,
    subtract: tl.constexpr,
    block: tl.constexpr,
):
    """Spikes of one block."""
    places = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = places < size
    x_at, s_at = currents + places, spikes + places  # pointers go from step to step: T times N may pass 2^31
    k = tl.load(leak).to(tl.float32) if parametric else decay
    h = tl.zeros([block], tl.float32)
    if parametric:
        h += value
    for _ in range(steps):
        x = tl.load(x_at, mask=inside, other=0).to(tl.float32)
        u = _integrate(h, x, k, value, parametric)
        tl.store(s_at, tl.where(u - threshold >= 0, 1.0, 0.0).to(spikes.dtype.element_ty), mask=inside)
        h = _reset(u, k, threshold, value, parametric, subtract)
        x_at += size
        s_at += size


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    currents,
    gradients,
    out,
    scratch,
    partials,
    leak,
    steps,
    size,
    decay,
    threshold,
    value,
    scale,
    parametric: tl.constexpr,
    subtract: tl.constexpr,
    surrogate: tl.constexpr,
    detached: tl.constexpr,
    block: tl.constexpr,
):
    """Gradients of this program's blocks by currents, and their sum by the leak.

    The scratch holds H before each step of a parametric neuron, from which its gradient by the leak comes; of others U.
    """
    program = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, block)
    k = tl.load(leak).to(tl.float32) if parametric else decay
    kept = scratch + program * steps * block + lanes
    by_leak = tl.zeros([block], tl.float64)
    for first in range(program * block, size, tl.num_programs(0) * block):
        places = first + lanes
        inside = places < size  # what is outside has current and gradient 0, and so adds nothing to the leak's
        x_at, kept_at = currents + places, kept
        h = tl.zeros([block], tl.float32)
        if parametric:
            h += value
        for _ in range(steps):
            x = tl.load(x_at, mask=inside, other=0).to(tl.float32)
            u = _integrate(h, x, k, value, parametric)
            tl.store(kept_at, h if parametric else u)
            h = _reset(u, k, threshold, value, parametric, subtract)
            x_at += size
            kept_at += block
        tl.debug_barrier()  # a thread may read what another wrote
        last = places + tl.cast(steps - 1, tl.int64) * size
        x_at, g_at, out_at, kept_at = currents + last, gradients + last, out + last, kept + steps * block
        by_h = tl.zeros([block], tl.float32)
        by_leak_here = tl.zeros([block], tl.float32)
        for _ in range(steps):
            kept_at -= block
            u = tl.load(kept_at)
            by_s = tl.load(g_at, mask=inside, other=0).to(tl.float32)
            if parametric:
                h = u
                x = tl.load(x_at, mask=inside, other=0).to(tl.float32)
                u = _integrate(h, x, k, value, parametric)
            fires = u - threshold >= 0
            if parametric:
                through, jump = tl.where(fires, 0.0, 1.0), value - u
            elif subtract:
                through, jump = k, -k * threshold
            else:
                through, jump = tl.where(fires, 0.0, k), value - k * u
            if not detached:
                by_s += by_h * jump
            by_u = by_s * _slope(u - threshold, scale, surrogate) + by_h * through
            if parametric:
                by_leak_here += by_u * (x - (h - value))
                by_x, by_h = by_u * k, by_u * (1.0 - k)
            else:
                by_x, by_h = by_u, by_u
            tl.store(out_at, by_x.to(out.dtype.element_ty), mask=inside)
            x_at -= size
            g_at -= size
            out_at -= size
        by_leak += by_leak_here.to(tl.float64)
        tl.debug_barrier()  # all have read the scratch before the next block is written to it
    if parametric:
        tl.store(partials + program, tl.sum(by_leak, 0))


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
    """What ``firing.fire`` does, of a tensor on a GPU.

    Raises:
        TypeError: for numbers of a type there is no kernel for.
    """
    x = _dense(current)
    spikes = torch.empty_like(x)
    if x.numel():
        steps, size, block = _extent(x)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            _forward[(triton.cdiv(size, block),)](
                *(x, spikes, _beside(x, leak), steps, size, decay, threshold, value),
                parametric=leak is not None,
                subtract=subtract,
                block=block,
                enable_fp_fusion=False,
            )
    return spikes


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
    """What ``firing.fire_backward`` does, of tensors on a GPU: sums are the same in every run.

    Raises:
        TypeError: as for ``fire``.
    """
    x = _dense(current)
    out, by_leak = torch.empty_like(x), (x if leak is None else leak).new_zeros(())
    if x.numel():
        steps, size, block = _extent(x)
        programs = min(PROGRAMS, triton.cdiv(size, block))
        scratch = x.new_empty((programs, steps, block), dtype=torch.float32)
        partials = None if leak is None else x.new_empty(programs, dtype=torch.float64)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            _backward[(programs,)](
                *(x, like(gradient, x), out, scratch, partials, _beside(x, leak)),
                *(steps, size, decay, threshold, value, scale),
                parametric=leak is not None,
                subtract=subtract,
                surrogate=surrogate,
                detached=detached,
                block=block,
                enable_fp_fusion=False,
            )
        if partials is not None:
            by_leak.copy_(partials.sum())
    return out, by_leak


def _dense(x: Tensor) -> Tensor:
    """[T, B, ...] whose steps follow one another without gaps, in its own type."""
    if x.dtype not in GPU_TYPES:
        raise TypeError(f"quietspike::fire: no kernel on a GPU for {x.dtype}")
    return x if x.is_contiguous() or is_channels_last(x) else x.contiguous()


def _beside(x: Tensor, leak: Tensor | None) -> Tensor | None:
    """The leak where the currents lie; PyTorch lets a single number lie elsewhere."""
    return None if leak is None else leak.to(x.device)


def _extent(x: Tensor) -> tuple[int, int, int]:
    """T, N and the neurons of a block."""
    steps = x.shape[0]
    size = x.numel() // steps
    return steps, size, min(LONGEST, max(SHORTEST, triton.next_power_of_2(triton.cdiv(size, PROGRAMS))))
