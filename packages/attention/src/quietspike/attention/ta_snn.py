"""TA-SNN's temporal-wise attention: when, from the average alone.

s = avg X over C, H, W (or F),   d = σ(W₂ ReLU(W₁ s + b₁) + b₂) ∈ (0, 1)^T,   out = d · X   (b: in the code alone)
at inference, if wanted:         d = 1 where that is at least d_th, else 0
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from quietspike.attention.bottleneck import Bottleneck
from quietspike.attention.checks import require_time
from quietspike.attention.pooling import average
from quietspike.core import AttentionMacs, Site
from quietspike.core.checks import check_between, check_flag, check_whole


class TemporalWiseAttention(nn.Module):
    """Gate time by the average of each step (TA-SNN); stands at fully connected layers too.

    Args:
        site: where it is placed; reads ``steps``.
        temporal_reduction: r, how much narrower than T the hidden layer is; it is at least 1 wide.
        threshold: d_th, 0 to 1; in evaluation mode a step with a lower score is discarded, and the others pass as
            they are (input attention pruning). None keeps the scores.
        bias: whether both layers have one, as in the code; the equations have none.

    Shape:
        [T, B, C, H, W] or [T, B, F] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site shows one step at a time.

    Source:
        Yao et al. 2021, Temporal-wise Attention Spiking Neural Networks, eq. 5 to 7. Its code has no threshold; reduces
        by 5, on Gesture by 16; and stands at ``current``, the equations at ``input``.
    """

    def __init__(
        self, site: Site, *, temporal_reduction: int = 5, threshold: float | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        require_time("ta_snn", site)
        check_whole(temporal_reduction=temporal_reduction)
        check_flag(bias=bias)
        if threshold is not None:
            check_between(0, 1, threshold=threshold)
        self.threshold = threshold
        self.mlp = Bottleneck(site.steps, temporal_reduction, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The gated features."""
        pooled = average(x, tuple(range(2, x.ndim)))
        scores: Tensor = self.mlp(pooled.flatten(1).T)
        if self.threshold is not None and not self.training:
            scores = (scores >= self.threshold).to(x.dtype)
        return x * scores.T.reshape(pooled.shape)

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """For one sample [T, C, H, W] or [T, F]; scores of 0 and 1, those of a threshold, multiply nothing."""
        return AttentionMacs(self.mlp.macs(1), math.prod(shape) if self.threshold is None else 0)
