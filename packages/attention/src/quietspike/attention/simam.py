"""SimAM: each feature is weighed by how far it stands out of its channel, without a parameter.

    d = (X − μ)²,   v = Σ d / M,   g(X) = σ(d / (4 (v + λ)) + ½),   μ and Σ over H, W;   M = H·W, in the code M − 1

The term in σ is the inverse of the least energy of a neuron that tells itself from the others of its channel.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from quietspike.attention.checks import require_space
from quietspike.attention.pooling import average
from quietspike.core import AttentionMacs, Site
from quietspike.core.checks import check_flag, check_positive


class SimAM(nn.Module):
    """Gate every feature by a weight of its own, at least σ(½) ≈ 0.62.

    Args:
        regularizer: λ; keeps a constant channel from a division by 0.
        unbiased: whether the variance divides by M − 1, as in the code, or by M, as in the equations.
        per_step: whether each step has its own weights; if not, they are those of the average over T.

    Shape:
        [T, B, C, H, W] → the same.

    Source:
        Yang et al. 2021, SimAM, eq. 5 and 6.
    """

    def __init__(self, regularizer: float, *, unbiased: bool, per_step: bool) -> None:
        super().__init__()
        self.regularizer = regularizer
        self.unbiased = unbiased
        self.per_step = per_step

    def forward(self, x: Tensor) -> Tensor:
        """The gated features."""
        seen = x if self.per_step else average(x, 0)
        squares = (seen - average(seen, (3, 4))).square()
        counted = max(1, math.prod(x.shape[3:]) - self.unbiased)
        variance = squares.sum((3, 4), keepdim=True) / counted
        return x * (squares / (4 * (variance + self.regularizer)) + 0.5).sigmoid()

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """For one sample [T, C, H, W]: a feature is squared, and its square is scaled; pooling has none."""
        return AttentionMacs(2 * math.prod(shape if self.per_step else shape[1:]), math.prod(shape))


def simam(site: Site, *, regularizer: float = 1e-4, unbiased: bool = True, per_step: bool = True) -> SimAM:
    """Gate every feature by its energy (SimAM); it has nothing to learn.

    Args:
        site: where it is placed.
        regularizer: λ, above 0.
        unbiased: whether the variance divides by M − 1, as in the code, or by M, as in the equations.
        per_step: whether each step has its own weights; if not, all steps share those of their average.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space.

    Source:
        Yang et al. 2021, SimAM: A Simple, Parameter-Free Attention Module, eq. 5 and 6, λ = 1e-4. Differs: made for
        images, so a step counts as one; M = 1 works.
    """
    require_space("simam", site)
    check_positive(regularizer=regularizer)
    check_flag(unbiased=unbiased, per_step=per_step)
    return SimAM(regularizer, unbiased=unbiased, per_step=per_step)
