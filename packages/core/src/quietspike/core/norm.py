"""Batch normalisation of frames with the average pooling that follows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from quietspike.core.kernels import fused


def affine(
    mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor]:
    """What normalisation by known moments multiplies each channel by, and adds to it; all [C], at least float32."""
    scale = torch.rsqrt(variance.to(torch.promote_types(variance.dtype, torch.float32)) + epsilon)
    scale = scale if weight is None else scale * weight
    shift = -scale * mean
    return scale, shift if bias is None else shift + bias


class PooledNorm(nn.BatchNorm2d):
    """Batch normalisation, then average pooling; the parameters, buffers and modes are those of ``nn.BatchNorm2d``.

    Args:
        channels: C.
        pool: k, factor of the pooling, 1 for none; odd borders are cut off.

    Shape:
        [N, C, H, W] → [N, C, H // k, W // k]

    Raises:
        ValueError: for frames of another kind, or with one value a channel to learn from, as torch.

    Source:
        Ioffe and Szegedy 2015, Batch Normalization. Differs: it pools, too, so what puts another normalisation in its
        place, as ``nn.SyncBatchNorm.convert_sync_batchnorm``, drops the pooling.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, pool: int = 1) -> None:
        super().__init__(channels)
        self.pool = pool

    def forward(self, input: Tensor) -> Tensor:
        """The frames, normalised by their moments, or in evaluation mode by those of training, and pooled."""
        learns = torch.is_grad_enabled() and any(x.requires_grad for x in (input, self.weight, self.bias))
        if not self._fits(input) or not fused(input) or (learns and not self.training):
            normed = super().forward(input)
            return functional.avg_pool2d(normed, self.pool) if self.pool > 1 else normed
        from quietspike.core.kernels.normalising import normalise, scale_and_pool  # numba takes half a second to import

        if self.training:
            out, mean, variance = normalise(input, self.weight, self.bias, self.eps, self.pool)
            self._track(mean, variance, input.numel() // self.num_features)
            return out
        with torch.no_grad():
            moments = self.running_mean, self.running_var
            return scale_and_pool(input, *affine(*moments, self.weight, self.bias, self.eps), self.pool)

    def _fits(self, frames: Tensor) -> bool:
        """Whether the kernels are for such frames; of others torch says what is wrong with them."""
        return (
            frames.dim() == 4
            and frames.shape[1] == self.num_features
            and min(frames.shape[2:]) >= self.pool
            and frames.numel() >= 2 * self.num_features
            and frames.dtype != torch.float16
        )

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.num_features}, pool={self.pool}"

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Running moments, of which the variance is unbiased; of all batches alike where there is no momentum."""
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), momentum)
