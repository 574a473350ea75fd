"""snnTorch's neurons behind quietspike's contract: no hidden state, all steps or one.

    Leaky:     U[t] = β U[t-1] + X[t] - R[t-1]
    Synaptic:  I[t] = α I[t-1] + X[t];  U[t] = β U[t-1] + I[t] - R[t-1]
    Alpha:     E[t] = α E[t-1] + X[t];  I[t] = β I[t-1] - X[t];  U[t] = τ (E[t] + I[t]),
               τ = ln α / (ln β - ln α) + 1

Each fires where U > V_th. snnTorch delays the reset R by one step: the carried state is the potential before it, and
the spike that it gave is taken off in the next step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quietspike.core.checks import check_between, check_flag, check_positive
from quietspike.core.errors import OptionError, unknown_name
from quietspike.core.neurons import gate_membrane, unroll
from quietspike.core.surrogates import surrogate as find_surrogate

RESET_MECHANISMS = ("subtract", "zero", "none")

# snnTorch lists all of its neurons for ever; each of ours is taken off that list, or it would never be freed.


def _check(reset: str, threshold: float, **decays: float) -> None:
    if reset not in RESET_MECHANISMS:
        raise unknown_name("reset", reset, RESET_MECHANISMS)
    check_between(0, 1, **decays)  # snnTorch clamps them without a word
    check_positive(threshold=threshold)


class SnntorchLeaky(nn.Module):
    """snnTorch's ``Leaky``: one exponential, that of the potential.

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

        _check(reset, threshold, beta=beta)
        check_flag(learn_beta=learn_beta, learn_threshold=learn_threshold)
        self.leaky = Leaky(
            beta=beta,
            threshold=threshold,
            reset_mechanism=reset,
            spike_grad=find_surrogate(surrogate, surrogate_scale),
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
        )
        Leaky.instances.remove(self.leaky)
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


class SnntorchSynaptic(nn.Module):
    """snnTorch's ``Synaptic``: two exponentials, that of the synapse's current and that of the potential.

    Args:
        alpha: share of the synaptic current that is left after a step.
        beta: share of the potential that is left after a step.
        threshold: V_th; a potential must exceed it to fire, with snnTorch's surrogates.
        reset: ``subtract``, ``zero`` or ``none``, snnTorch's ``reset_mechanism``; acts on the potential alone.
        surrogate: as for ``LIF``; snnTorch's own are ``snntorch.atan`` and so on.
        surrogate_scale: as for ``LIF``.
        learn_alpha: make α a parameter.
        learn_beta: make β a parameter.
        learn_threshold: make V_th a parameter.
        membrane: as for ``LIF``; the gated potential fires and is carried.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes; the state of ``step`` is I and U as [2, B, ...].

    Raises:
        OptionError: for a value out of its range.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Eshraghian et al. 2023, Training Spiking Neural Networks Using Lessons From Deep Learning;
        ``snntorch.Synaptic``.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.8,
        beta: float = 0.9,
        threshold: float = 1.0,
        reset: str = "subtract",
        surrogate: str = "snntorch.atan",
        surrogate_scale: float | None = None,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        membrane: nn.Module | None = None,
    ) -> None:
        super().__init__()
        from snntorch import Synaptic

        _check(reset, threshold, alpha=alpha, beta=beta)
        check_flag(learn_alpha=learn_alpha, learn_beta=learn_beta, learn_threshold=learn_threshold)
        self.synaptic = Synaptic(
            alpha=alpha,
            beta=beta,
            threshold=threshold,
            reset_mechanism=reset,
            spike_grad=find_surrogate(surrogate, surrogate_scale),
            learn_alpha=learn_alpha,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
        )
        Synaptic.instances.remove(self.synaptic)
        self.membrane = membrane

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all steps, from rest."""
        return unroll(self.step, current)

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes, and synaptic current and potential, of one step; ``None`` is rest."""
        before = _rest(2, current) if state is None else state
        spikes, synapse, potential = self.synaptic(current, before[0], before[1])
        self.synaptic.syn = self.synaptic.mem = torch.zeros(0, device=current.device)
        if self.membrane is not None:
            potential = gate_membrane(self.membrane, potential)
            spikes = self.synaptic.fire(potential)
        return spikes, torch.stack([synapse, potential])


class SnntorchAlpha(nn.Module):
    """snnTorch's ``Alpha``: the potential is the difference of two exponentials, so it rises and falls smoothly.

    A current does not move the potential in the step in which it comes: at least one step goes by before a spike.

    Args:
        alpha: share of the excitatory current E that is left after a step; must be over β.
        beta: share of the inhibitory current I that is left after a step.
        threshold: V_th; a potential must exceed it to fire, with snnTorch's surrogates.
        reset: ``subtract``, ``zero`` or ``none``, snnTorch's ``reset_mechanism``; acts on E and I too.
        surrogate: as for ``LIF``; snnTorch's own are ``snntorch.atan`` and so on.
        surrogate_scale: as for ``LIF``.
        learn_beta: make β a parameter.
        learn_threshold: make V_th a parameter.
        membrane: as for ``LIF``; the gated potential fires, and decides the reset of the next step.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes; the state of ``step`` is E, I and U as [3, B, ...].

    Raises:
        OptionError: for a value out of its range, as an α that is not over β.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Eshraghian et al. 2023, Training Spiking Neural Networks Using Lessons From Deep Learning;
        ``snntorch.Alpha``.
        Differs: α cannot be learned; snnTorch's own option for that raises an error.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.9,
        beta: float = 0.8,
        threshold: float = 1.0,
        reset: str = "zero",
        surrogate: str = "snntorch.atan",
        surrogate_scale: float | None = None,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        membrane: nn.Module | None = None,
    ) -> None:
        super().__init__()
        from snntorch import Alpha

        _check(reset, threshold, alpha=alpha, beta=beta)
        if not alpha > beta:
            raise OptionError(f"alpha={alpha}: must be over beta, which is {beta}")
        check_flag(learn_beta=learn_beta, learn_threshold=learn_threshold)
        self.alpha = Alpha(
            alpha=alpha,
            beta=beta,
            threshold=threshold,
            reset_mechanism=reset,
            spike_grad=find_surrogate(surrogate, surrogate_scale),
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
        )
        Alpha.instances.remove(self.alpha)
        self.membrane = membrane

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all steps, from rest."""
        return unroll(self.step, current)

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes, and both currents and the potential, of one step; ``None`` is rest."""
        before = _rest(3, current) if state is None else state
        spikes, excitatory, inhibitory, potential = self.alpha(current, before[0], before[1], before[2])
        nothing = torch.zeros(0, device=current.device)
        self.alpha.syn_exc = self.alpha.syn_inh = self.alpha.mem = nothing
        if self.membrane is not None:
            potential = gate_membrane(self.membrane, potential)
            spikes = self.alpha.fire(potential)
        return spikes, torch.stack([excitatory, inhibitory, potential])


def _rest(states: int, current: Tensor) -> Tensor:
    return current.new_zeros(states, *current.shape)
