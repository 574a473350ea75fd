"""Temporal attention: when.

g_T(X) = σ(MLP(avg X) + MLP(max X)) ∈ (0, 1)^T,   pooled over C, H, W (or over F)
"""

from __future__ import annotations

from torch import Tensor, nn

from quietspike.attention.bottleneck import Bottleneck
from quietspike.attention.pooling import average_and_max


class TemporalGate(nn.Module):
    """One weight a step.

    Args:
        steps: T.
        reduction: how much narrower the hidden layer is than T; its width is at least 1.

    Shape:
        [T, B, C, H, W] → [T, B, 1, 1, 1]; [T, B, F] → [T, B, 1]

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, TA; the paper and its code agree. Differs: the code checks
        the reduction against the channels, not against T.
    """

    def __init__(self, steps: int, reduction: int) -> None:
        super().__init__()
        self.mlp = Bottleneck(steps, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """The weights of x; they do not multiply it yet."""
        average, maximum = average_and_max(x, tuple(range(2, x.ndim)))
        return self.weigh(average.flatten(1), maximum.flatten(1)).reshape(average.shape)

    def weigh(self, average: Tensor, maximum: Tensor) -> Tensor:
        """The weights [T, B] of each step's average and maximum."""
        weights: Tensor = self.mlp(average.T, maximum.T)
        return weights.T

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the weights of one sample [T, C, H, W] or [T, F]; pooling has none."""
        return self.mlp.macs(2)
