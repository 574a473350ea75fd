"""Leaky integrate-and-fire neurons, over all steps at once or step by step.

Over the steps t, with input current X, potential U, threshold V_th, spikes S and carried state H:

    U[t] = H[t-1] + X[t]            (LIF)
    U[t] = H[t-1] + (X[t] - (H[t-1] - V_reset)) σ(w)      (PLIF)
    S[t] = 1 where U[t] ≥ V_th, else 0
    H[t] = the reset rule of U[t] and S[t]

A neuron keeps nothing between calls: ``forward`` starts from rest, and ``step`` is handed the state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from quietspike.core.checks import check_between, check_flag, check_positive
from quietspike.core.errors import OptionError, unknown_name
from quietspike.core.kernels import fused
from quietspike.core.kernels.firing import fire_all
from quietspike.core.kernels.memory import HALVES
from quietspike.core.surrogates import Surrogate
from quietspike.core.surrogates import surrogate as find_surrogate

Reset = Literal["code", "paper", "subtract"]
RESETS: tuple[Reset, ...] = ("code", "paper", "subtract")
StepFunction = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


def unroll(step: StepFunction, current: Tensor) -> Tensor:
    """Spikes of all steps from rest, by float32 potentials where currents are of half precision.

    Shape:
        [T, B, ...] → the same.
    """
    spikes = []
    state: Tensor | None = None
    for now in (current.float() if current.dtype in HALVES else current).unbind(0):
        spike, state = step(now, state)
        spikes.append(spike)
    return torch.stack(spikes).to(current.dtype)


def _known_surrogate(neuron: LIF | PLIF, kind: type, current: Tensor) -> Surrogate | None:
    """The surrogate of a neuron whose steps the kernel can do at once.

    ``None`` where something acts on U, the step or the surrogate is another's, or no kernel is to be used.
    """
    spike = neuron.spike
    if (
        type(neuron) is kind
        and neuron.membrane is None
        and isinstance(spike, Surrogate)
        and fused(current, triton=True)
    ):
        return spike
    return None


def gate_membrane(membrane: nn.Module | None, potential: Tensor) -> Tensor:
    """The potential [B, ...] after attention, which sees it as [1, B, ...]."""
    return potential if membrane is None else membrane(potential.unsqueeze(0)).squeeze(0)


class LIF(nn.Module):
    """Leaky integrate-and-fire.

    The rule after a spike, H = ``reset``:

    - ``code``: decay · (V_reset · S + U · (1 - S)), MA-SNN's and ASA-SNN's repositories;
    - ``paper``: V_reset · S + decay · U · (1 - S), the papers' equation; the same where V_reset is 0;
    - ``subtract``: decay · (U - V_th · S).

    Args:
        decay: share of the potential that is left after a step.
        threshold: V_th; a potential equal to it fires.
        reset: the rule after a spike.
        reset_value: V_reset; 0 for ``subtract``.
        surrogate: name of the surrogate gradient, as in ``surrogates.SURROGATES``, or ``snntorch.<name>``.
        surrogate_scale: its parameter; its own default where ``None``.
        detach_reset: keep gradients from flowing through the reset.
        membrane: attention on U, called once a step; spikes and state both use its result.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes.

    Raises:
        OptionError: for a value out of its range.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Yao et al. 2023 (MA-SNN), the layer-wise LIF model, and its repository's cell, gradient through the reset
        included. Differs: the repository's MA cell resets to V_th; here V_reset is what ``reset_value`` says.
    """

    def __init__(
        self,
        *,
        decay: float = 0.3,
        threshold: float = 0.3,
        reset: Reset = "code",
        reset_value: float = 0.0,
        surrogate: str = "rectangular",
        surrogate_scale: float | None = None,
        detach_reset: bool = False,
        membrane: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if reset not in RESETS:
            raise unknown_name("reset", reset, RESETS)
        check_between(0, 1, decay=decay)
        check_positive(threshold=threshold)
        check_between(reset_value=reset_value)
        check_flag(detach_reset=detach_reset)
        if reset == "subtract" and reset_value != 0:
            raise OptionError(f"reset_value={reset_value}: has no meaning where reset is subtract")
        self.decay = decay
        self.threshold = threshold
        self.reset = reset
        self.reset_value = reset_value
        self.detach_reset = detach_reset
        self.membrane = membrane
        self.spike = find_surrogate(surrogate, surrogate_scale)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all steps, from rest."""
        surrogate = _known_surrogate(self, LIF, current)
        if surrogate is None:
            return unroll(self.step, current)
        return fire_all(
            current,
            surrogate,
            decay=self.decay,
            threshold=self.threshold,
            value=self.reset_value if self.reset == "paper" else self.decay * self.reset_value,
            subtract=self.reset == "subtract",
            detached=self.detach_reset,
        )

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes and H of one step; ``None`` is rest."""
        potential = gate_membrane(self.membrane, current if state is None else state + current)
        spikes = self.spike(potential - self.threshold)
        fired = spikes.detach() if self.detach_reset else spikes
        return self.send(potential, spikes), self.reset_potential(potential, fired)

    def send(self, potential: Tensor, spikes: Tensor) -> Tensor:
        """What the next layer sees of U and S: the spikes."""
        return spikes

    def reset_potential(self, potential: Tensor, fired: Tensor) -> Tensor:
        """H of U and S, by the rule."""
        if self.reset == "subtract":
            return self.decay * (potential - self.threshold * fired)
        kept = self.decay * (potential - potential * fired)
        if self.reset_value == 0:
            return kept
        return kept + (self.reset_value if self.reset == "paper" else self.decay * self.reset_value) * fired

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"decay={self.decay}, threshold={self.threshold}, reset={self.reset}"


class PLIF(nn.Module):
    """Parametric leaky integrate-and-fire: the leak is learned, one for the layer.

    σ(w) = 1/τ weighs the input against the leak, so a current must last to fire. After a spike the potential is
    V_reset.

    Args:
        tau: initial time constant in steps, over 1; w = -ln(τ - 1).
        threshold: V_th.
        reset_value: V_reset.
        surrogate: as for ``LIF``.
        surrogate_scale: as for ``LIF``.
        detach_reset: as for ``LIF``.
        membrane: as for ``LIF``.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes.

    Raises:
        OptionError: for a value out of its range, as a time constant of 1 or less.

    Source:
        Fang et al. 2021, Incorporating Learnable Membrane Time Constant, the PLIF neuron with 1/τ = σ(w).
    """

    def __init__(
        self,
        *,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset_value: float = 0.0,
        surrogate: str = "atan",
        surrogate_scale: float | None = None,
        detach_reset: bool = False,
        membrane: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_positive(tau=tau, threshold=threshold)
        if not tau > 1:
            raise OptionError(f"tau={tau}: must be over 1")
        check_between(reset_value=reset_value)
        check_flag(detach_reset=detach_reset)
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))
        self.threshold = threshold
        self.reset_value = reset_value
        self.detach_reset = detach_reset
        self.membrane = membrane
        self.spike = find_surrogate(surrogate, surrogate_scale)

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all steps, from rest."""
        surrogate = _known_surrogate(self, PLIF, current)
        if surrogate is None:
            return unroll(self.step, current)
        return fire_all(
            current,
            surrogate,
            leak=torch.sigmoid(self.w),
            threshold=self.threshold,
            value=self.reset_value,
            detached=self.detach_reset,
        )

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes and H of one step; ``None`` is rest, V_reset."""
        before = torch.full_like(current, self.reset_value) if state is None else state
        potential = before + (current - (before - self.reset_value)) * torch.sigmoid(self.w)
        potential = gate_membrane(self.membrane, potential)
        spikes = self.spike(potential - self.threshold)
        fired = spikes.detach() if self.detach_reset else spikes
        return spikes, potential - (potential - self.reset_value) * fired

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"threshold={self.threshold}, reset_value={self.reset_value}"
