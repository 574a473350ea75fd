"""Spatial attention: where.

code:   g_S(X) = σ(conv [avg X; max X]) ∈ (0, 1)^(H×W),              pooled over T, C: one map for all steps; 3×3
paper:  g_S(X)[t] = σ(conv [avg X[t]; max X[t]]) ∈ (0, 1)^(H×W),     pooled over C, conv shared by the steps; 7×7
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quietspike.attention.pooling import average_and_max


def map_convolution(kernel: int) -> nn.Conv2d:
    """Average and maximum → one map of the same height and width; no bias."""
    return nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)


class SpatialGate(nn.Module):
    """One weight a place, for all steps together or for each.

    Args:
        kernel: width of the convolution, odd.
        per_step: whether each step has its own map, as in the paper.
        norm: whether batch normalisation follows the convolution, as in CBAM's code.

    Shape:
        [T, B, C, H, W] → [1, B, 1, H, W]; [T, B, 1, H, W] if ``per_step``

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, SA; its code unless ``per_step``.
    """

    def __init__(self, kernel: int, *, per_step: bool, norm: bool = False) -> None:
        super().__init__()
        self.per_step = per_step
        self.conv = map_convolution(kernel)
        self.norm = nn.BatchNorm2d(1, momentum=0.01) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The map of x; it does not multiply it yet."""
        return self.weigh(*(average_and_max(x, 2) if self.per_step else average_and_max(x, 2, 0)))

    def weigh(self, average: Tensor, maximum: Tensor) -> Tensor:
        """The map [S, B, 1, H, W] of each place's average and maximum."""
        pooled = torch.cat([average, maximum], dim=2)
        weights: Tensor = self.norm(self.conv(pooled.flatten(0, 1)))
        return weights.sigmoid().reshape(average.shape)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the map of one sample [T, C, H, W]; pooling has none."""
        steps, _, height, width = shape
        return self.conv.weight.numel() * height * width * (steps if self.per_step else 1)
