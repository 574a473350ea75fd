"""snnTorch's neurons behind quietspike's contract: no hidden state, all steps or one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quietspike.core.checks import check_between, check_flag, check_positive
from quietspike.core.errors import unknown_name
from quietspike.core.neurons import gate_membrane, unroll
from quietspike.core.surrogates import surrogate as find_surrogate

RESET_MECHANISMS = ("subtract", "zero", "none")


class SnntorchLeaky(nn.Module):
    """snnTorch's ``Leaky``: U[t] = β U[t-1] + X[t] - R[t-1], fires where U > V_th.

    snnTorch delays the reset by one step: the carried state is the potential before it, and the spike that it gave is
    taken off in the next step.

    Args:
        beta: share of the potential that is left after a step.
        threshold: V_th; a potential must exceed it to fire, with snnTorch's surrogates.
        reset: ``subtract``, ``zero`` or ``none``, snnTorch's ``reset_mechanism``.
        surrogate: as for ``LIF``; snnTorch's own are ``snntorch.atan`` and so on.
        surrogate_scale: as for ``LIF``.
        learn_beta: make β a parameter.
        learn_threshold: make V_th a parameter.
        membrane: as for ``LIF``; the gated potential fires and is carried.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes.

    Raises:
        OptionError: for a value out of its range, as a β outside 0..1.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Eshraghian et al. 2023, Training Spiking Neural Networks Using Lessons From Deep Learning; ``snntorch.Leaky``.
    """

    def __init__(
        self,
        *,
        beta: float = 0.9,
        threshold: float = 1.0,
        reset: str = "subtract",
        surrogate: str = "snntorch.atan",
        surrogate_scale: float | None = None,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        membrane: nn.Module | None = None,
    ) -> None:
        super().__init__()
        from snntorch import Leaky

        if reset not in RESET_MECHANISMS:
            raise unknown_name("reset", reset, RESET_MECHANISMS)
        check_between(0, 1, beta=beta)  # snnTorch clamps it without a word
        check_positive(threshold=threshold)
        check_flag(learn_beta=learn_beta, learn_threshold=learn_threshold)
        self.leaky = Leaky(
            beta=beta,
            threshold=threshold,
            reset_mechanism=reset,
            spike_grad=find_surrogate(surrogate, surrogate_scale),
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
        )
        Leaky.instances.remove(self.leaky)  # snnTorch's list of all neurons would keep it alive for ever
        self.membrane = membrane

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all steps, from rest."""
        return unroll(self.step, current)

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes and potential of one step; ``None`` is rest."""
        spikes, potential = self.leaky(current, torch.zeros_like(current) if state is None else state)
        self.leaky.mem = torch.zeros(0, device=current.device)  # Leaky keeps its last potential; we keep nothing
        if self.membrane is None:
            return spikes, potential
        potential = gate_membrane(self.membrane, potential)
        return self.leaky.fire(potential), potential
