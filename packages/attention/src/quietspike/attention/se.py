"""Squeeze-and-excitation: channel weights from the average alone.

    z = avg X over H, W,   g(X) = σ(W₂ ReLU(W₁ z)) ∈ (0, 1)^C,   W₁: C → C/r,   W₂: C/r → C,   no bias

For each step by itself (``per_step``), or once for all steps, with T pooled too.
"""

from __future__ import annotations

from torch import Tensor, nn

from quietspike.attention.bottleneck import Bottleneck
from quietspike.attention.checks import require_space
from quietspike.attention.gated import Gated
from quietspike.attention.pooling import average
from quietspike.core import Site
from quietspike.core.checks import check_flag, check_whole


class SqueezeExcitationGate(nn.Module):
    """One weight a channel, from its average.

    Args:
        channels: C.
        reduction: r; the hidden layer is at least 1 wide.
        per_step: whether each step has its own weights.

    Shape:
        [T, B, C, H, W] → [T, B, C, 1, 1] if ``per_step``, else [1, B, C, 1, 1]

    Source:
        Hu et al. 2018, Squeeze-and-Excitation Networks, eq. 2 and 3.
    """

    def __init__(self, channels: int, reduction: int, *, per_step: bool) -> None:
        super().__init__()
        self.per_step = per_step
        self.mlp = Bottleneck(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """The weights of x; they do not multiply it yet."""
        pooled = average(x, (3, 4)) if self.per_step else average(x, (3, 4), 0)
        weights: Tensor = self.mlp(pooled.flatten(2))
        return weights[..., None, None]

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the weights of one sample [T, C, H, W]; pooling has none."""
        return self.mlp.macs(1) * (shape[0] if self.per_step else 1)


def se(site: Site, *, channel_reduction: int = 16, per_step: bool = True) -> Gated:
    """Gate channels by squeeze-and-excitation.

    Args:
        site: where it is placed; reads ``channels``.
        channel_reduction: r, how much narrower than C the hidden layer is; it is at least 1 wide.
        per_step: whether each step has its own weights; if not, T is pooled too and all steps share them.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space.

    Source:
        Hu et al. 2018, Squeeze-and-Excitation Networks, eq. 2 to 4, r = 16. Differs: made for images, so a step counts
        as one, as when MA-SNN puts a module in its channel slot at the membrane.
    """
    require_space("se", site)
    check_whole(channel_reduction=channel_reduction)
    check_flag(per_step=per_step)
    return Gated(SqueezeExcitationGate(site.channels, channel_reduction, per_step=per_step))
