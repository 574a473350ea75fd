"""Batch normalisation of frames, and average pooling behind it, in two passes forwards and two backwards.

    y = γ (x − μ) / √(σ² + ε) + β;  out = mean of y over each k × k window = γ (x̄ − μ) / √(σ² + ε) + β,  x̄ = mean of x

The mean commutes with what is affine, so that frames are normalised when they are small. One pass gives μ, σ² and x̄;
backwards, the sums that the gradient needs come from x̄ as well.

Source: Ioffe and Szegedy 2015, Batch Normalization, Alg. 1 and the gradients of section 3; exact but for rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quietspike.core.kernels import normalising_cpu as kernels
from quietspike.core.kernels.memory import as_array, number_of
from quietspike.core.kernels.threads import over_parts


def normalise(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, pool: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise frames by their own moments, and pool them.

    Args:
        x: [N, C, H, W].
        weight: γ [C].
        bias: β [C].
        epsilon: ε.
        pool: k; odd borders are cut off, after they were counted.

    Shape:
        → [N, C, H // k, W // k], and μ [C] and the biased σ² [C], which carry no gradient.
    """
    found: tuple[Tensor, Tensor, Tensor] = _Normalise.apply(x, weight, bias, epsilon, pool)  # type: ignore[no-untyped-call]
    return found


def scale_and_pool(x: Tensor, scale: Tensor, shift: Tensor, pool: int) -> Tensor:
    """Pooled frames times scale [C] plus shift [C], without gradient; shapes as for ``normalise``."""
    frames, number = _frames(x), number_of(x)
    _, channels, height, width = x.shape
    out = x.new_empty(len(x), height // pool, width // pool, channels)
    weights = (as_array(given.double()).astype(number) for given in (scale, shift))  # which may be of half precision
    _over(kernels.pool_and_scale, len(x), as_array(frames), pool, *weights, as_array(out))
    return out.permute(0, 3, 1, 2)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, pool: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        frames, number = _frames(x), number_of(x)
        size, height, width, channels = frames.shape
        pooled = frames if pool == 1 else frames.new_empty(size, height // pool, width // pool, channels)
        shift = as_array(frames[0].double().mean((0, 1))).astype(number)  # near the values, so squares keep digits
        sums, squares = np.empty((2, size, channels))
        _over(kernels.moments, size, as_array(frames), pool, shift, as_array(pooled), sums, squares)
        every = size * height * width
        beyond = sums.sum(0) / every
        mean = beyond + shift
        variance = np.maximum(squares.sum(0) / every - beyond * beyond, 0)
        inverse = 1 / np.sqrt(variance + epsilon)
        scale = weight.detach().double().numpy() * inverse
        offset = bias.detach().double().numpy() - scale * mean
        out = torch.empty_like(pooled)
        _over(
            kernels.pool_and_scale,
            size,
            as_array(pooled),
            1,
            scale.astype(number),
            offset.astype(number),
            as_array(out),
        )
        ctx.save_for_backward(frames.permute(0, 3, 1, 2), pooled.permute(0, 3, 1, 2), weight)
        ctx.mean, ctx.inverse, ctx.pool = mean, inverse, pool
        found = torch.from_numpy(mean).to(weight.dtype), torch.from_numpy(variance).to(weight.dtype)
        ctx.mark_non_differentiable(*found)
        return out.permute(0, 3, 1, 2), *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        x, pooled, weight = ctx.saved_tensors
        number, pool = number_of(x), ctx.pool
        frames, gradients = _frames(x), as_array(_frames(given[0].to(x.dtype)))
        size, height, width, channels = frames.shape
        mean = ctx.mean.astype(number)
        sums, products = np.empty((2, size, channels))
        _over(kernels.gradient_sums, size, as_array(_frames(pooled)), gradients, mean, sums, products)
        by_bias, product = sums.sum(0), products.sum(0)
        by_weight = product * ctx.inverse
        every = size * height * width
        scale = weight.detach().double().numpy() * ctx.inverse
        slope, shift = -scale * ctx.inverse * by_weight / every, -scale * by_bias / every
        scale = scale / (pool * pool)
        out = torch.empty_like(frames)
        constants = (mean, scale.astype(number), slope.astype(number), shift.astype(number))
        _over(kernels.gradient, size, as_array(frames), gradients, pool, *constants, as_array(out))
        parameters = (torch.from_numpy(found).to(weight.dtype) for found in (by_weight, by_bias))
        return out.permute(0, 3, 1, 2), *parameters, None, None


def _frames(x: Tensor) -> Tensor:
    """[N, C, H, W] as [N, H, W, C]; the same memory where it lies so."""
    return x.detach().permute(0, 2, 3, 1).contiguous()


def _over(kernel: Any, frames: int, *arguments: Any) -> None:
    over_parts(lambda start, stop: kernel(*arguments, start, stop), frames, 1)
