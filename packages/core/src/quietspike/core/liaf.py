"""Leaky integrate and analog fire: spikes reset the neuron, and what it sends is graded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from quietspike.core.checks import check_flag
from quietspike.core.errors import look_up
from quietspike.core.neurons import LIF, Reset

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "selu": torch.selu,
    "identity": torch.clone,
}


class LIAF(LIF):
    """Leaky integrate and analog fire: ``LIF`` in all but what it sends.

        U[t] = H[t-1] + X[t];  S[t] = 1 where U[t] ≥ V_th, else 0;  H[t] = LIF's reset rule of U[t] and S[t]
        out[t] = f(U[t]), or f(U[t] - V_th) with ``above_threshold``

    The spikes S stay inside: they decide the reset alone. What the next layer sees is graded, so it multiplies and is
    charged E_MAC. As spikes count the values that are sent, each out[t] that is not zero: these are what the next
    layer's synaptic operations follow. With ``selu`` or ``identity`` that is nearly every neuron at every step.

    Args:
        activation: f, one of ``relu``, ``selu`` and ``identity``.
        above_threshold: activate what exceeds the threshold, so that with ``relu`` a neuron sends only when it spikes.
        decay: as for ``LIF``.
        threshold: as for ``LIF``.
        reset: as for ``LIF``.
        reset_value: as for ``LIF``.
        surrogate: as for ``LIF``; gradients take it on the way through the reset alone.
        surrogate_scale: as for ``LIF``.
        detach_reset: as for ``LIF``.
        membrane: as for ``LIF``; out[t] follows its result too.

    Shape:
        [T, B, ...] currents → [T, B, ...] analog values.

    Raises:
        OptionError: for a value out of its range.
        UnknownNameError: for an unknown activation, reset or surrogate.

    Source:
        Wu et al. 2021, LIAF-Net, and MA-SNN's repository, whose ``mode_select="mem"`` this is: ReLU of U by default,
        of U - V_th with ``TR_model="TR"``. Differs: its cell resets to V_th, ours to ``reset_value``.
    """

    def __init__(
        self,
        *,
        activation: Literal["relu", "selu", "identity"] = "relu",
        above_threshold: bool = False,
        decay: float = 0.3,
        threshold: float = 0.3,
        reset: Reset = "code",
        reset_value: float = 0.0,
        surrogate: str = "rectangular",
        surrogate_scale: float | None = None,
        detach_reset: bool = False,
        membrane: nn.Module | None = None,
    ) -> None:
        super().__init__(
            decay=decay,
            threshold=threshold,
            reset=reset,
            reset_value=reset_value,
            surrogate=surrogate,
            surrogate_scale=surrogate_scale,
            detach_reset=detach_reset,
            membrane=membrane,
        )
        check_flag(above_threshold=above_threshold)
        self.activate = look_up("activation", activation, ACTIVATIONS)
        self.activation = activation
        self.above_threshold = above_threshold

    def send(self, potential: Tensor, spikes: Tensor) -> Tensor:
        """What the next layer sees of U and S: f(U), whatever S."""
        return self.activate(potential - self.threshold if self.above_threshold else potential)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"activation={self.activation}, {super().extra_repr()}"
