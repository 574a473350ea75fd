"""Efficient channel attention: each channel's weight comes from its neighbours' averages, without a bottleneck.

z = avg X over H, W,   g(X) = σ(conv z) ∈ (0, 1)^C,   one kernel of k weights along the channels, no bias
k = the odd number at (log₂ C + b) / γ,   γ = 2,   b = 1
"""

from __future__ import annotations

import math

from quietspike.attention.channel import EfficientChannelGate
from quietspike.attention.checks import check_odd, require_space
from quietspike.attention.joint import MultiDimensionalAttention
from quietspike.core import Site
from quietspike.core.checks import check_flag


def kernel_for(channels: int) -> int:
    """The authors' rule: the whole part of (log₂ C + 1) / 2, and the next number where that is even.

    >>> [kernel_for(channels) for channels in (1, 2, 8, 64, 128, 256, 512)]
    [1, 1, 3, 3, 5, 5, 5]
    """
    whole = int((math.log2(channels) + 1) / 2)
    return whole if whole % 2 else whole + 1


def eca(site: Site, *, kernel: int | None = None, per_step: bool = True) -> MultiDimensionalAttention:
    """Gate channels by efficient channel attention.

    Args:
        site: where it is placed; reads ``channels``.
        kernel: how many neighbouring channels make a weight, odd; by the authors' rule, ``kernel_for``, where None.
        per_step: whether each step has its own weights; if not, T is pooled too and all steps share them.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space.

    Source:
        Wang et al. 2020, ECA-Net: Efficient Channel Attention, eq. 9 and 12; an even number goes up, as in its code.
        Differs: made for images, so a step counts as one. MA-SNN prints 48 parameters for ECA in its channel slot;
        the rule gives 3 + 5 + 5 = 13 for 64, 128 and 128 channels.
    """
    require_space("eca", site)
    if kernel is not None:
        check_odd(kernel=kernel)
    check_flag(per_step=per_step)
    gate = EfficientChannelGate(kernel_for(site.channels) if kernel is None else kernel, per_step=per_step)
    return MultiDimensionalAttention(None, gate, None, relu=False)
