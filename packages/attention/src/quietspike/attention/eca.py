"""Efficient channel attention: each channel's weight comes from its neighbours' averages, without a bottleneck.

z = avg X over H, W,   g(X) = σ(conv z) ∈ (0, 1)^C,   one kernel of k weights along the channels, no bias
k = the odd number at (log₂ C + b) / γ,   γ = 2,   b = 1
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from quietspike.attention.checks import check_odd, require_space
from quietspike.attention.gated import Gated
from quietspike.attention.pooling import average
from quietspike.core import Site
from quietspike.core.checks import check_flag


def kernel_for(channels: int) -> int:
    """The authors' rule: the whole part of (log₂ C + 1) / 2, and the next number where that is even.

    >>> [kernel_for(channels) for channels in (1, 2, 8, 64, 128, 256, 512)]
    [1, 1, 3, 3, 5, 5, 5]
    """
    whole = int((math.log2(channels) + 1) / 2)
    return whole if whole % 2 else whole + 1


class EfficientChannelGate(nn.Module):
    """One weight a channel, from the averages of the channels around it.

    Args:
        kernel: k, how many channels make a weight, odd.
        per_step: whether each step has its own weights.

    Shape:
        [T, B, C, H, W] → [T, B, C, 1, 1] if ``per_step``, else [1, B, C, 1, 1]

    Source:
        Wang et al. 2020, ECA-Net, eq. 9.
    """

    def __init__(self, kernel: int, *, per_step: bool) -> None:
        super().__init__()
        self.per_step = per_step
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The weights of x; they do not multiply it yet."""
        pooled = average(x, (3, 4)) if self.per_step else average(x, (3, 4), 0)
        weights: Tensor = self.conv(pooled.flatten(2).flatten(0, 1)[:, None])
        return weights.sigmoid().reshape(pooled.shape)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the weights of one sample [T, C, H, W]; pooling has none."""
        return self.conv.weight.numel() * shape[1] * (shape[0] if self.per_step else 1)


def eca(site: Site, *, kernel: int | None = None, per_step: bool = True) -> Gated:
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
    return Gated(EfficientChannelGate(kernel_for(site.channels) if kernel is None else kernel, per_step=per_step))
