"""Channel attention: what.

code:   g_C(X) = σ(MLP(avg X) + MLP(max X)) ∈ (0, 1)^C,           pooled over T, H, W: one weight for all steps
paper:  g_C(X)[t] = σ(MLP(avg X[t]) + MLP(max X[t])) ∈ (0, 1)^C,  pooled over H, W, the MLP shared by the steps
"""

from __future__ import annotations

from torch import Tensor, nn

from quietspike.attention.bottleneck import Bottleneck
from quietspike.attention.pooling import average, average_and_max


class ChannelGate(nn.Module):
    """One weight a channel, for all steps together or for each.

    Args:
        channels: C.
        reduction: how much narrower the hidden layer is than C; its width is at least 1.
        per_step: whether each step has its own weights, as in the paper.
        maximum: whether the maximum is pooled, too, or the average alone, as by squeeze-and-excitation.
        bias: whether both layers have one.

    Shape:
        [T, B, C, H, W] → [1, B, C, 1, 1]; [T, B, C, 1, 1] if ``per_step``

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks, CA; its code unless ``per_step``.
    """

    def __init__(
        self, channels: int, reduction: int, *, per_step: bool, maximum: bool = True, bias: bool = False
    ) -> None:
        super().__init__()
        self.per_step = per_step
        self.maximum = maximum
        self.mlp = Bottleneck(channels, reduction, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The weights of x; they do not multiply it yet."""
        over = ((3, 4),) if self.per_step else ((3, 4), 0)
        pooled = average_and_max(x, *over) if self.maximum else (average(x, *over),)
        return self.weigh(*(values.flatten(2) for values in pooled))[..., None, None]

    def weigh(self, *pooled: Tensor) -> Tensor:
        """The weights [S, B, C] of each channel's average and maximum."""
        weights: Tensor = self.mlp(*pooled)
        return weights

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the weights of one sample [T, C, H, W]; pooling has none."""
        return self.mlp.macs(2 if self.maximum else 1) * (shape[0] if self.per_step else 1)


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

    maximum = False

    def __init__(self, kernel: int, *, per_step: bool) -> None:
        super().__init__()
        self.per_step = per_step
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The weights of x; they do not multiply it yet."""
        pooled = average(x, (3, 4)) if self.per_step else average(x, (3, 4), 0)
        return self.weigh(pooled.flatten(2))[..., None, None]

    def weigh(self, average: Tensor) -> Tensor:
        """The weights [S, B, C] of each channel's average."""
        weights: Tensor = self.conv(average.flatten(0, 1)[:, None])
        return weights.sigmoid().reshape(average.shape)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the weights of one sample [T, C, H, W]; pooling has none."""
        return self.conv.weight.numel() * shape[1] * (shape[0] if self.per_step else 1)
