"""The two-layer network that turns pooled features into weights; time and channels each have one.

weights = σ(W₂ ReLU(W₁ avg) + W₂ ReLU(W₁ max)),   W₁: n → n/r,   W₂: n/r → n,   no bias
"""

from __future__ import annotations

from torch import Tensor, nn


def bottleneck_width(size: int, reduction: int) -> int:
    """``size // reduction``, but at least 1, so that 4 steps or 2 input channels work.

    >>> bottleneck_width(60, 5), bottleneck_width(2, 8)
    (12, 1)
    """
    return max(1, size // reduction)


class Bottleneck(nn.Module):
    """Weights between 0 and 1 along the last dimension, from its average and its maximum.

    Args:
        size: n, how many weights.
        reduction: r, how much narrower the hidden layer is.

    Shape:
        twice [..., n] → [..., n]

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, temporal and channel attention (``sharedMLP`` in the code).
    """

    def __init__(self, size: int, reduction: int) -> None:
        super().__init__()
        width = bottleneck_width(size, reduction)
        self.squeeze = nn.Linear(size, width, bias=False)
        self.expand = nn.Linear(width, size, bias=False)

    def forward(self, average: Tensor, maximum: Tensor) -> Tensor:
        """The weights of both poolings together."""
        return (self._branch(average) + self._branch(maximum)).sigmoid()

    def _branch(self, pooled: Tensor) -> Tensor:
        expanded: Tensor = self.expand(self.squeeze(pooled).relu())
        return expanded

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one set of weights: both layers, for the average and for the maximum."""
        return 2 * (self.squeeze.weight.numel() + self.expand.weight.numel())
