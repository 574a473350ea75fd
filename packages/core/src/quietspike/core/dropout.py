"""Dropout along time: what is dropped is dropped at every step."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class StepDropout(nn.Module):
    """Drop the same elements at all steps; the others are divided by 1 - rate. Nothing happens in evaluation mode.

    Args:
        rate: the chance of an element, from 0 to below 1.

    Shape:
        [T, B, ...] → the same.

    Source:
        Fang et al. 2021, Incorporating Learnable Membrane Time Constant: a unit that is out is out for the sample.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Keep or drop."""
        if not self.training:
            return x
        return x * functional.dropout(x.new_ones(x.shape[1:]), self.rate)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"rate={self.rate}"
