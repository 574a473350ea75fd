"""Any gates, one after the other: each multiplies what the one before let through.

X₁ = g₁(X) · X,   X₂ = g₂(X₁) · X₁,   …
"""

from __future__ import annotations

import math
from typing import Protocol, cast

from torch import Tensor, nn

from quietspike.core import AttentionMacs


class Gate(Protocol):
    """A module that gives the weights of features, in a shape that multiplies them."""

    def __call__(self, x: Tensor) -> Tensor:
        """The weights of x."""
        ...

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-accumulates of the weights of one sample [T, C, H, W] or [T, F]."""
        ...


class Gated(nn.Module):
    """Multiply features by the weights of each gate in turn.

    Args:
        gates: modules with ``macs``, see ``Gate``.

    Shape:
        that of the input

    Source:
        Ours; MA-SNN's own gates, with their order T, C, S and their ReLU, are ``MultiDimensionalAttention``.
    """

    def __init__(self, *gates: nn.Module) -> None:
        super().__init__()
        self.gates = nn.ModuleList(gates)

    def forward(self, x: Tensor) -> Tensor:
        """The gated features."""
        for gate in self.gates:
            x = x * gate(x)
        return x

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """For one sample [T, C, H, W] or [T, F]; each gate multiplies every feature once."""
        weights = [cast(Gate, gate).macs(shape) for gate in self.gates]
        return AttentionMacs(weights=sum(weights), applying=len(weights) * math.prod(shape))
