"""Temporal-channel joint attention: time and channels weighed together.

    Z = avg X over H, W ∈ R^(C×T)
    𝒯[i, j] = Σₙ Σₘ W[i, n, m] Z[n, j + m]     over all channels n and K_T steps m       (temporal-wise local attention)
    𝒞[i, j] = Σₙ Σₘ E[j, n, m] Z[i + m, n]     over all steps n and K_C channels m       (channel-wise local attention)
    g(X) = σ(𝒯 · 𝒞) ∈ (0, 1)^(C×T),   element by element                                (cross-convolutional fusion)

Z is 0 outside; of the k − 1 places that a kernel reaches beyond its own, ⌊(k − 1)/2⌋ come before.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import pad

from quietspike.attention.checks import require_space, require_time
from quietspike.attention.pooling import average
from quietspike.core import AttentionMacs, Site
from quietspike.core.checks import check_whole


class TemporalChannelJointAttention(nn.Module):
    """Gate each channel at each step by one weight (TCJA).

    Args:
        site: where it is placed; reads ``steps`` and ``channels``.
        temporal_kernel: K_T, how many steps the convolution along time sees.
        channel_kernel: K_C, how many channels the convolution along the channels sees.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space or shows one step at a time.

    Source:
        Zhu et al. 2024, TCJA-SNN: Temporal-Channel Joint Attention for Spiking Neural Networks (arXiv 2206.10177,
        2022), and its code, which has both kernels 4 on DVS128 Gesture and CIFAR10-DVS; what the code names
        ``kernel_size_t`` is the paper's K_C. Differs: theirs stands after the neuron, on spikes, before pooling; here
        the site says where. A kernel may be longer than T or C, so T = 1 and C = 1 work.
    """

    def __init__(self, site: Site, *, temporal_kernel: int = 4, channel_kernel: int = 4) -> None:
        super().__init__()
        require_space("tcja", site)
        require_time("tcja", site)
        check_whole(temporal_kernel=temporal_kernel, channel_kernel=channel_kernel)
        self.along_time = nn.Conv1d(site.channels, site.channels, temporal_kernel, bias=False)
        self.along_channels = nn.Conv1d(site.steps, site.steps, channel_kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The gated features."""
        pooled = average(x, (3, 4))
        by_step = pooled.flatten(2).transpose(0, 1)  # [B, T, C]
        temporal = _same(self.along_time, by_step.transpose(1, 2)).transpose(1, 2)
        channel = _same(self.along_channels, by_step)
        return x * (temporal * channel).sigmoid().transpose(0, 1).reshape(pooled.shape)

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """For one sample [T, C, H, W]: both convolutions and their product; pooling has none."""
        steps, channels = shape[:2]
        convolutions = self.along_time.weight.numel() * steps + self.along_channels.weight.numel() * channels
        return AttentionMacs(weights=convolutions + steps * channels, applying=math.prod(shape))


def _same(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """The convolution with zeros around; PyTorch's own padding warns of kernels that are even."""
    reach = conv.kernel_size[0] - 1
    result: Tensor = conv(pad(x, (reach // 2, reach - reach // 2)))
    return result
