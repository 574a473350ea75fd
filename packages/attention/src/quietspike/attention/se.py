"""Squeeze-and-excitation: channel weights from the average alone.

    z = avg X over H, W,   g(X) = σ(W₂ ReLU(W₁ z)) ∈ (0, 1)^C,   W₁: C → C/r,   W₂: C/r → C,   no bias

For each step by itself (``per_step``), or once for all steps, with T pooled too.
"""

from __future__ import annotations

from quietspike.attention.channel import ChannelGate
from quietspike.attention.checks import require_space
from quietspike.attention.joint import MultiDimensionalAttention
from quietspike.core import Site
from quietspike.core.checks import check_flag, check_whole


def se(site: Site, *, channel_reduction: int = 16, per_step: bool = True) -> MultiDimensionalAttention:
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
    channel = ChannelGate(site.channels, channel_reduction, per_step=per_step, maximum=False)
    return MultiDimensionalAttention(None, channel, None, relu=False)
