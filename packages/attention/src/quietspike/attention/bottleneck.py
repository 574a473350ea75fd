"""The two-layer network that turns pooled features into weights; time and channels each have one.

weights = σ(W₂ ReLU(W₁ avg) + W₂ ReLU(W₁ max)),   W₁: n → n/r,   W₂: n/r → n

Squeeze-and-excitation (``se``) and TA-SNN (``ta_snn``) have the average alone; TA-SNN's layers have a bias.
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
    """Weights between 0 and 1 along the last dimension, from what was pooled: the average, or it and the maximum.

    Args:
        size: n, how many weights.
        reduction: r, how much narrower the hidden layer is.
        bias: whether both layers have one.

    Shape:
        [..., n], once or more → [..., n]

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, temporal and channel attention (``sharedMLP`` in the code).
    """

    def __init__(self, size: int, reduction: int, *, bias: bool = False) -> None:
        super().__init__()
        width = bottleneck_width(size, reduction)
        self.squeeze = nn.Linear(size, width, bias=bias)
        self.expand = nn.Linear(width, size, bias=bias)

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """The weights of all poolings together."""
        logits = self._branch(first)
        for pooled in others:
            logits = logits + self._branch(pooled)
        return logits.sigmoid()

    def _branch(self, pooled: Tensor) -> Tensor:
        expanded: Tensor = self.expand(self.squeeze(pooled).relu())
        return expanded

    def macs(self, poolings: int) -> int:
        """Multiply-accumulates of one set of weights: both layers, for each pooling; a bias is only added."""
        return poolings * (self.squeeze.weight.numel() + self.expand.weight.numel())
