"""A convolution with the normalisation and the average pooling behind it, as one convolution.

In evaluation mode normalisation is affine, y ↦ scale · y + shift for each channel, and average pooling is linear, so

    pool_k(norm(conv(x))) = conv'(x),   stride' = k · stride,   bias' = scale · bias + shift,
    W' = mean over i, j < k of scale · W moved by stride · (i, j)

with a kernel of K + stride · (k - 1) and the padding as it was, odd borders included. At K = 3, k = 2 an input meets 16
weights in place of 36, and what lies between is never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional

from quietspike.core.kernels import fused
from quietspike.core.norm import affine


@dataclass(frozen=True)
class Synapses:
    """A convolution.

    Args:
        weight: [C_out, C_in, kh, kw].
        bias: [C_out], or none.
        stride: of y and x.
        padding: zeros on each side of y and x.
    """

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True)
class Norm:
    """Batch normalisation in evaluation mode.

    Args:
        mean: running mean, [C].
        variance: running variance, [C].
        weight: of what is normalised, [C], or none.
        bias: added to it, [C], or none.
        eps: added to the variance.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel."""
        return affine(self.mean, self.variance, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Chain:
    """A convolution and what follows it.

    Args:
        synapses: the convolution.
        norm: the normalisation of its output, if any.
        pool: factor of the average pooling after that, 1 for none; odd borders are cut off.

    Shape:
        [N, C_in, H, W] → [N, C_out, H' // pool, W' // pool].
    """

    synapses: Synapses
    norm: Norm | None = None
    pool: int = 1

    def dense(self, x: Tensor) -> Tensor:
        """One after the other."""
        synapses, norm = self.synapses, self.norm
        y = functional.conv2d(x, synapses.weight, synapses.bias, synapses.stride, synapses.padding)
        if norm is not None and fused(y):
            from quietspike.core.kernels.normalising import scale_and_pool  # numba takes half a second to import

            return scale_and_pool(y, *norm.affine(), self.pool)
        if norm is not None:
            y = functional.batch_norm(y, norm.mean, norm.variance, norm.weight, norm.bias, eps=norm.eps)
        return y if self.pool == 1 else functional.avg_pool2d(y, self.pool)

    def folded(self) -> Synapses:
        """As one convolution."""
        synapses = self.synapses if self.norm is None else fold_norm(self.synapses, self.norm)
        return synapses if self.pool == 1 else fold_pool(synapses, self.pool)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """H and W of its result."""
        synapses = self.synapses
        kernel = synapses.weight.shape[2:]
        down, across = (
            ((size + 2 * pad - extent) // step + 1) // self.pool
            for size, pad, extent, step in zip((height, width), synapses.padding, kernel, synapses.stride, strict=True)
        )
        return down, across

    def versions(self) -> Iterator[tuple[int, int]]:
        """Numbers that change with the tensors that it is made of, while it holds them."""
        norm = () if self.norm is None else (self.norm.mean, self.norm.variance, self.norm.weight, self.norm.bias)
        for tensor in (self.synapses.weight, self.synapses.bias, *norm):
            if tensor is not None:
                yield tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def fold_norm(synapses: Synapses, norm: Norm) -> Synapses:
    """A convolution and the normalisation behind it."""
    scale, shift = norm.affine()
    bias = shift if synapses.bias is None else scale * synapses.bias + shift
    return replace(synapses, weight=scale[:, None, None, None] * synapses.weight, bias=bias)


def fold_pool(synapses: Synapses, factor: int) -> Synapses:
    """A convolution and the average pooling behind it."""
    weight, (down, across) = synapses.weight, synapses.stride
    height, width = weight.shape[2:]
    reach = height + down * (factor - 1), width + across * (factor - 1)
    total = weight.new_zeros(*weight.shape[:2], *reach)
    for y in range(0, down * factor, down):
        for x in range(0, across * factor, across):
            total[:, :, y : y + height, x : x + width] += weight
    return replace(synapses, weight=total / factor**2, stride=(factor * down, factor * across))
