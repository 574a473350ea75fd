"""The convolutional block attention module: channel weights, then, if wanted, a spatial map.

    M_c(X) = σ(MLP(avg X) + MLP(max X)) ∈ (0, 1)^C,   pooled over H, W          X₁ = M_c(X) · X
    M_s(X₁) = σ(conv 7×7 [avg X₁; max X₁]) ∈ (0, 1)^(H×W),   pooled over C      X₂ = M_s(X₁) · X₁

Its channel part is what MA-SNN's paper takes for CA: both have one row, 93.88 %, in its tables.
"""

from __future__ import annotations

from quietspike.attention.channel import ChannelGate
from quietspike.attention.checks import check_odd, require_space
from quietspike.attention.joint import MultiDimensionalAttention
from quietspike.attention.spatial import SpatialGate
from quietspike.core import Site
from quietspike.core.checks import check_flag, check_whole


def cbam(
    site: Site,
    *,
    channel_reduction: int = 16,
    spatial: bool = False,
    kernel: int = 7,
    bias: bool = False,
    norm: bool = False,
    per_step: bool = True,
) -> MultiDimensionalAttention:
    """Gate channels by CBAM's channel part; with ``spatial=True`` places too, and it is the whole module.

    Args:
        site: where it is placed; reads ``channels``.
        channel_reduction: how much narrower than C the hidden layer of the channel weights is; at least 1 wide.
        spatial: whether the spatial part follows.
        kernel: width of the spatial part's convolution, odd.
        bias: whether both layers of the MLP have one, as in its code; the equations have none.
        norm: whether batch normalisation follows the spatial part's convolution, as in its code.
        per_step: whether each step has its own weights; if not, T is pooled too and all steps share them.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space.

    Source:
        Woo et al. 2018, CBAM: Convolutional Block Attention Module, eq. 1 to 3. Differs: made for images, so a step
        counts as one; the spatial part is off unless asked for, since MA-SNN's channel slot holds the channel part
        alone (the 4,608 parameters it prints are the MLPs without bias).
    """
    require_space("cbam", site)
    check_whole(channel_reduction=channel_reduction)
    check_odd(kernel=kernel)
    check_flag(spatial=spatial, bias=bias, norm=norm, per_step=per_step)
    channel = ChannelGate(site.channels, channel_reduction, per_step=per_step, bias=bias)
    places = SpatialGate(kernel, per_step=per_step, norm=norm) if spatial else None
    return MultiDimensionalAttention(None, channel, places, relu=False)
