"""MA-SNN's multi-dimensional attention: time, then channels, then space, each gating what the one before let through.

    X₁ = g_T(X) · X,   X₂ = g_C(X₁) · X₁,   X₃ = g_S(X₂) · X₂,   out = ReLU(X₃);  a variant leaves out some of the three

The defaults are the authors' code. ``per_step=True, kernel=7, relu=False`` is the paper's form; the paper then puts
T at a ``current`` and C, S at a ``membrane``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quietspike.attention.channel import ChannelGate, EfficientChannelGate
from quietspike.attention.checks import check_odd, require_space, require_time
from quietspike.attention.spatial import SpatialGate
from quietspike.attention.temporal import TemporalGate
from quietspike.core import AttentionMacs, Site
from quietspike.core.checks import check_flag, check_whole
from quietspike.core.kernels import fused, weights_fit


class MultiDimensionalAttention(nn.Module):
    """Gate time, then channels, then space; whichever of the three are given.

    Args:
        temporal: weights of the steps.
        channel: weights of the channels, MA's or others'.
        spatial: weights of the places.
        relu: whether negative values become zero at the end, as in the code.

    Shape:
        [T, B, C, H, W] → the same; [T, B, F] → the same, with ``temporal`` alone.

    Raises:
        ValueError: if none of the three is given, or ``relu`` is not a truth value.

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, TCSA and its parts. Differs: batch 1, T = 1 and C = 1 work.
    """

    def __init__(
        self,
        temporal: TemporalGate | None,
        channel: ChannelGate | EfficientChannelGate | None,
        spatial: SpatialGate | None,
        *,
        relu: bool,
    ) -> None:
        super().__init__()
        check_flag(relu=relu)
        self.temporal = temporal
        self.channel = channel
        self.spatial = spatial
        self.relu = relu
        if not self.gates():
            raise ValueError("an attention needs at least one gate")

    def gates(self) -> list[TemporalGate | ChannelGate | EfficientChannelGate | SpatialGate]:
        """Those that there are, in their order."""
        return [gate for gate in (self.temporal, self.channel, self.spatial) if gate is not None]

    def forward(self, x: Tensor) -> Tensor:
        """The gated features."""
        if x.dim() == 5 and fused(x) and weights_fit(self):
            with torch.autocast(x.device.type, enabled=False):  # weights are few; they are computed in float32
                return self._gate_at_once(x)
        for gate in self.gates():
            x = x * gate(x).to(x.dtype)
        # In place: nothing else holds the last product, and its own gradient does not need it.
        return x.relu_() if self.relu else x

    def _gate_at_once(self, x: Tensor) -> Tensor:
        """The same, from the statistics of planes and places."""
        from quietspike.attention.gating import Features, largest  # numba takes half a second to import

        features = Features(x, relu=self.relu)
        planes = places = None
        if self.temporal is not None or self.channel is not None:
            average, maximum, ties = features.plane_statistics(x)
            planes = torch.ones_like(average)
            if self.temporal is not None:
                steps = self.temporal.weigh(average.mean(2), largest(maximum, ties, 2).squeeze(2)).unsqueeze(2)
                average, maximum, planes = steps * average, steps * maximum, steps * planes
            if self.channel is not None:
                if not self.channel.per_step:
                    average, maximum = average.mean(0, keepdim=True), largest(maximum, ties, 0)
                planes = self.channel.weigh(*((average, maximum) if self.channel.maximum else (average,))) * planes
            planes = planes.unsqueeze(0)
        if self.spatial is not None:
            pooled = features.place_statistics(x, planes, per_step=self.spatial.per_step)
            places = self.spatial.weigh(*(values.squeeze(0) for values in pooled)).unsqueeze(0)
        return features.gate(planes, places)

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """For one sample [T, C, H, W] or [T, F]; each gate multiplies every feature once, and pooling has no MACs."""
        weights = [gate.macs(shape) for gate in self.gates()]
        return AttentionMacs(weights=sum(weights), applying=len(weights) * math.prod(shape))


class NoAttention(nn.Identity):
    """Nothing, at no cost."""

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """None."""
        return AttentionMacs(weights=0, applying=0)


def none(site: Site) -> NoAttention:
    """No attention; stands anywhere."""
    return NoAttention()


def ta(site: Site, *, temporal_reduction: int = 5, relu: bool = True) -> MultiDimensionalAttention:
    """Gate time; the one variant for fully connected layers too."""
    return MultiDimensionalAttention(_temporal("ta", site, temporal_reduction), None, None, relu=relu)


def ca(
    site: Site, *, channel_reduction: int = 8, per_step: bool = False, relu: bool = True
) -> MultiDimensionalAttention:
    """Gate channels."""
    return MultiDimensionalAttention(None, _channel("ca", site, channel_reduction, per_step), None, relu=relu)


def sa(site: Site, *, kernel: int = 3, per_step: bool = False, relu: bool = True) -> MultiDimensionalAttention:
    """Gate space."""
    return MultiDimensionalAttention(None, None, _spatial("sa", site, kernel, per_step), relu=relu)


def tca(
    site: Site,
    *,
    temporal_reduction: int = 5,
    channel_reduction: int = 8,
    per_step: bool = False,
    relu: bool = True,
) -> MultiDimensionalAttention:
    """Gate time, then channels."""
    channel = _channel("tca", site, channel_reduction, per_step)
    return MultiDimensionalAttention(_temporal("tca", site, temporal_reduction), channel, None, relu=relu)


def tsa(
    site: Site, *, temporal_reduction: int = 5, kernel: int = 3, per_step: bool = False, relu: bool = True
) -> MultiDimensionalAttention:
    """Gate time, then space."""
    spatial = _spatial("tsa", site, kernel, per_step)
    return MultiDimensionalAttention(_temporal("tsa", site, temporal_reduction), None, spatial, relu=relu)


def csa(
    site: Site, *, channel_reduction: int = 8, kernel: int = 3, per_step: bool = False, relu: bool = True
) -> MultiDimensionalAttention:
    """Gate channels, then space."""
    channel = _channel("csa", site, channel_reduction, per_step)
    return MultiDimensionalAttention(None, channel, _spatial("csa", site, kernel, per_step), relu=relu)


def tcsa(
    site: Site,
    *,
    temporal_reduction: int = 5,
    channel_reduction: int = 8,
    kernel: int = 3,
    per_step: bool = False,
    relu: bool = True,
) -> MultiDimensionalAttention:
    """Gate time, then channels, then space (MA-SNN's TCSA).

    The other variants take those of these options that concern them.

    >>> site = Site("block1.current", "current", steps=20, channels=64, spatial=True)
    >>> tcsa(site, kernel=7).macs((20, 64, 16, 16))
    AttentionMacs(weights=27456, applying=983040)

    Args:
        site: where it is placed; reads ``steps`` and ``channels``.
        temporal_reduction: how much narrower than T the hidden layer of the temporal weights is; at least 1 wide.
        channel_reduction: how much narrower than C that of the channel weights is; at least 1 wide.
        kernel: width of the spatial convolution, odd; 7 in the paper.
        per_step: whether each step has its own channel weights and spatial map, as in the paper; the networks that
            compute them are shared by the steps.
        relu: whether negative values become zero at the end; not in the paper.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space or shows one step at a time.

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, and its code (the defaults).
    """
    temporal = _temporal("tcsa", site, temporal_reduction)
    channel = _channel("tcsa", site, channel_reduction, per_step)
    return MultiDimensionalAttention(temporal, channel, _spatial("tcsa", site, kernel, per_step), relu=relu)


def _temporal(variant: str, site: Site, reduction: int) -> TemporalGate:
    require_time(variant, site)
    check_whole(temporal_reduction=reduction)
    return TemporalGate(site.steps, reduction)


def _channel(variant: str, site: Site, reduction: int, per_step: bool) -> ChannelGate:
    require_space(variant, site)
    check_whole(channel_reduction=reduction)
    check_flag(per_step=per_step)
    return ChannelGate(site.channels, reduction, per_step=per_step)


def _spatial(variant: str, site: Site, kernel: int, per_step: bool) -> SpatialGate:
    require_space(variant, site)
    check_odd(kernel=kernel)
    check_flag(per_step=per_step)
    return SpatialGate(kernel, per_step=per_step)
