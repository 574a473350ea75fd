"""ASA-SNN's advanced spatial attention: important and sub-important features, each with a map of its own.

    (1–5) m = important(X) ∈ {0, 1}^(T×C)                              see selection.py
    (6)   Xᵢ = m·X,  gᵢ = σ(convᵢ [mean Xᵢ / λ; max Xᵢ]);   Xₛ = (1 − m)·X,  gₛ = σ(convₛ [mean Xₛ / (1 − λ); max Xₛ])
    (7)   out = gᵢ·Xᵢ + gₛ·Xₛ

Mean and maximum are over T and C, with the other group's features in them as zeros; hence the divisors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quietspike.attention.checks import check_odd, require_space, require_time
from quietspike.attention.pooling import average_and_max
from quietspike.attention.selection import Selection
from quietspike.attention.spatial import map_convolution
from quietspike.core import AttentionMacs, Site
from quietspike.core.checks import check_between, check_flag, check_whole
from quietspike.core.kernels import fused, weights_fit


class ASA(nn.Module):
    """Select important features of each sample, and gate the two groups by two spatial maps.

    At λ = 0 and λ = 1 no feature is important (nothing is selected, or everything by both rules): all are gated by
    the sub-important map, and a divisor of 0 counts as 1.

    Args:
        site: where it is placed; reads ``steps``.
        important: λ, the share of channels and of steps that is selected, 0 to 1.
        reduction: how much narrower than T the hidden layer of the map along T is; 1 is one layer, T → T.
        kernel: width of the two convolutions, odd.
        trainable_selection: whether α, β and the map along T learn, by a straight-through gradient.

    Shape:
        [T, B, C, H, W] → the same.

    Raises:
        ValueError: if an option is out of its range, or the site has no space or shows one step at a time.

    Source:
        Yao et al. 2023, Inherent Redundancy in Spiking Neural Networks, and its code. Differs: selects sample by
        sample, not by the batch's union; α, β and the map are buffers, or learn, see ``Selection``.
    """

    def __init__(
        self,
        site: Site,
        *,
        important: float = 0.5,
        reduction: int = 1,
        kernel: int = 3,
        trainable_selection: bool = False,
    ) -> None:
        super().__init__()
        require_space("asa", site)
        require_time("asa", site)
        check_between(0, 1, important=important)
        check_whole(reduction=reduction)
        check_odd(kernel=kernel)
        check_flag(trainable_selection=trainable_selection)
        self.important = important
        self.selection = Selection(site.steps, important, reduction, trainable=trainable_selection)
        self.conv_important = map_convolution(kernel)
        self.conv_rest = map_convolution(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """The gated features."""
        if (
            fused(x) and weights_fit(self) and not self.selection.trainable
        ):  # else a gradient reaches the mask, which kernels do not give
            with torch.autocast(x.device.type, enabled=False):
                return self._gate_at_once(x)
        selected: Tensor = self.selection(x)
        important = x * selected
        rest = x - important
        important_map, rest_map = self._weigh(*(average_and_max(group, 2, 0) for group in (important, rest)))
        return (important * important_map + rest * rest_map).to(x.dtype)

    def _gate_at_once(self, x: Tensor) -> Tensor:
        """The same, from the statistics of planes and of both groups' places."""
        from quietspike.attention.gating import Features  # numba takes half a second to import

        features = Features(x, relu=False)
        average, maximum, _ = features.plane_statistics(x.detach())
        selected = self.selection.choose(average, maximum)
        planes = torch.stack([selected, 1 - selected])
        averages, maxima = features.place_statistics(x, planes, per_step=False)
        return features.gate(planes, torch.stack(self._weigh(*zip(averages, maxima, strict=True))))

    def _weigh(self, important: tuple[Tensor, Tensor], rest: tuple[Tensor, Tensor]) -> list[Tensor]:
        """The maps [1, B, 1, H, W] of average and maximum [1, B, 1, H, W] of both groups."""
        maps = []
        shares = self.important, 1 - self.important
        for conv, pooled, share in zip((self.conv_important, self.conv_rest), (important, rest), shares, strict=True):
            average, maximum = pooled
            # as if the group were all there is, comparable with other shares
            weights: Tensor = conv(torch.cat((average[0] / (share or 1), maximum[0]), dim=1))
            maps.append(weights.sigmoid().unsqueeze(0))
        return maps

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """For one sample [T, C, H, W]; a feature is in one group, so it is multiplied once, and pooling has no MACs."""
        convolutions = 2 * self.conv_rest.weight.numel() * math.prod(shape[2:])
        return AttentionMacs(weights=self.selection.macs(shape) + convolutions, applying=math.prod(shape))
