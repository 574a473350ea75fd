"""ASA's selection: which channels, at which steps, are important.

(1) avg, max over H, W                         of each step and channel
(2) M = ½(avg + max) + α·avg + β·max           α = β = ½ at the start
(3) V = L(M)                                   linear along T; T → T/r → ReLU → T where r > 1; no bias
(4) A = top ⌊λC⌋ channels of each step of V,   D = top ⌊λT⌋ steps of each channel of V
(5) important = A xor D                        selected by exactly one of the two
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from quietspike.attention.bottleneck import bottleneck_width
from quietspike.attention.pooling import average_and_max


def count_of(share: float, size: int) -> int:
    """⌊λn⌋ of real numbers: 0.29 · 100 is 29, though its product in floating point is 28.999….

    >>> count_of(0.29, 100), count_of(0.5, 1), count_of(1.0, 6)
    (29, 0, 6)
    """
    return int(share * size + 1e-9)


def choose_top(values: Tensor, count: int, dim: int, *, differentiable: bool) -> Tensor:
    """1 where a value is among the ``count`` largest along a dimension, else 0; the earlier of equals goes first.

    Where it is differentiable the gradient is that of σ(v − threshold), the threshold midway between the last value
    that is chosen and the first that is not (straight-through); the result is the same to the last bit. All or
    nothing chosen is a constant.
    """
    order = values.argsort(dim=dim, descending=True, stable=True)
    chosen = torch.zeros_like(values).scatter_(dim, order.narrow(dim, 0, count), 1.0)
    if not differentiable or count in (0, values.shape[dim]):
        return chosen
    threshold = values.gather(dim, order.narrow(dim, count - 1, 2)).mean(dim, keepdim=True)
    soft = (values - threshold).sigmoid()
    return chosen + (soft - soft.detach())


class Selection(nn.Module):
    """Choose the important channels and steps of each sample by itself.

    Args:
        steps: T.
        share: λ.
        reduction: r; the map's hidden layer is at least 1 wide.
        trainable: whether α, β and L are parameters, which the gradient reaches by ``choose_top``; buffers otherwise.
            The names in the state dict are the same.

    Shape:
        [T, B, C, H, W] → [T, B, C, 1, 1], of ones and zeros

    Source:
        Yao et al. 2023, Inherent Redundancy in Spiking Neural Networks, and its code. Differs: the code indexes with
        a batch of indices, so that what one sample selects is important in all; and its α, β and L are parameters
        that no gradient reaches, which we hold as buffers.
    """

    alpha: Tensor
    beta: Tensor
    mix: Tensor
    squeeze: Tensor
    expand: Tensor

    def __init__(self, steps: int, share: float, reduction: int, *, trainable: bool) -> None:
        super().__init__()
        self.share = share
        self.reduction = reduction
        self.trainable = trainable
        width = bottleneck_width(steps, reduction)
        self._hold("alpha", torch.full((1,), 0.5))
        self._hold("beta", torch.full((1,), 0.5))
        if reduction == 1:
            self._hold("mix", nn.Linear(steps, steps, bias=False).weight.detach())
        else:
            self._hold("squeeze", nn.Linear(steps, width, bias=False).weight.detach())
            self._hold("expand", nn.Linear(width, steps, bias=False).weight.detach())

    def _hold(self, name: str, value: Tensor) -> None:
        if self.trainable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Which features of x are important; the gradient of x does not pass."""
        average, maximum = average_and_max(x.detach(), (3, 4))
        return self.choose(average.flatten(2), maximum.flatten(2))[..., None, None]

    def choose(self, average: Tensor, maximum: Tensor) -> Tensor:
        """Which of the planes [T, B, C] with these averages and maxima are important."""
        steps, _, channels = average.shape
        merged = (average + maximum) / 2 + self.alpha * average + self.beta * maximum
        values = self._map(merged.movedim(0, 2))
        by_step = choose_top(values, count_of(self.share, channels), 1, differentiable=self.trainable)
        by_channel = choose_top(values, count_of(self.share, steps), 2, differentiable=self.trainable)
        either = by_step + by_channel - 2 * by_step * by_channel
        return either.movedim(2, 0)

    def _map(self, merged: Tensor) -> Tensor:
        """L along the last dimension.

        In double precision, rounded at the end: a matrix product rounds differently from one place of the batch to
        the next, and silent or equal channels, frequent with spikes, would be ranked by that.
        """
        wide = merged.double()
        if self.reduction == 1:
            mapped = linear(wide, self.mix.double())
        else:
            mapped = linear(linear(wide, self.squeeze.double()).relu(), self.expand.double())
        return mapped.to(merged.dtype)

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates for one sample [T, C, H, W]: α·avg and β·max, and the map of each channel."""
        steps, channels = shape[:2]
        layers = (steps * steps,) if self.reduction == 1 else (self.squeeze.numel(), self.expand.numel())
        return channels * (2 * steps + sum(layers))
