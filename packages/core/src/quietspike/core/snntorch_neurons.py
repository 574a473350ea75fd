"""snnTorch's neurons behind quietspike's contract: no hidden state, all steps or one.

    Leaky:     U[t] = β U[t-1] + X[t] - R[t-1]
    Synaptic:  I[t] = α I[t-1] + X[t];  U[t] = β U[t-1] + I[t] - R[t-1]
    Alpha:     E[t] = α E[t-1] + X[t];  I[t] = β I[t-1] - X[t];  U[t] = τ (E[t] + I[t]),
               τ = ln α / (ln β - ln α) + 1

Each fires where U > V_th with snnTorch's surrogates, where U ≥ V_th with ours. snnTorch delays the reset R by one step:
the carried state is the potential before it, and the spike that it gave is taken off in the next step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from quietspike.core.checks import check_between, check_flag, check_positive
from quietspike.core.errors import OptionError, unknown_name
from quietspike.core.neurons import gate_membrane, unroll
from quietspike.core.surrogates import surrogate as find_surrogate

RESET_MECHANISMS = ("subtract", "zero", "none")


class SnntorchNeuron(nn.Module):
    """A neuron of snnTorch that keeps the ``Neuron`` contract.

    Args:
        inner: snnTorch's neuron.
        states: what it calls its states, the potential last.
        membrane: as for ``LIF``; the gated potential fires and is carried.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes, of the currents' type; the state of ``step`` is [states, B, ...].
    """

    def __init__(self, inner: nn.Module, states: tuple[str, ...], membrane: nn.Module | None) -> None:
        super().__init__()
        self.inner: Any = inner
        self.states = states
        self.membrane = membrane

    @property
    def threshold(self) -> Tensor:
        """V_th, one number; a parameter where it is learned."""
        threshold: Tensor = self.inner.threshold
        return threshold

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of all steps, from rest."""
        return unroll(self.step, current)

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes and states of one step; ``None`` is rest."""
        before = current.new_zeros(len(self.states), *current.shape) if state is None else state
        spikes, *after = self.inner(current, *before)
        for name in (*self.states, "reset"):  # it keeps its last ones; we keep nothing
            setattr(self.inner, name, current.new_zeros(0))
        after = [values.to(current.dtype) for values in after]  # snnTorch's surrogates give float32 whatever they see
        if self.membrane is not None:
            after[-1] = gate_membrane(self.membrane, after[-1])
            spikes = self.inner.fire(after[-1])
        return spikes.to(current.dtype), torch.stack(after)


def snntorch_leaky(
    *,
    beta: float = 0.9,
    threshold: float = 1.0,
    reset: str = "subtract",
    surrogate: str = "snntorch.atan",
    surrogate_scale: float | None = None,
    learn_beta: bool = False,
    learn_threshold: bool = False,
    membrane: nn.Module | None = None,
) -> SnntorchNeuron:
    """Leaky of snnTorch: one exponential, that of the potential.

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
        [T, B, ...] currents → [T, B, ...] spikes; the state of ``step`` is U as [1, B, ...].

    Raises:
        OptionError: for a value out of its range, as a β outside 0..1.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Eshraghian et al. 2023, Training Spiking Neural Networks Using Lessons From Deep Learning; ``snntorch.Leaky``.
    """
    decays, learned = {"beta": beta}, {"learn_beta": learn_beta, "learn_threshold": learn_threshold}
    inner = _build("Leaky", decays, learned, threshold, reset, surrogate, surrogate_scale)
    return SnntorchNeuron(inner, ("mem",), membrane)


def snntorch_synaptic(
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
) -> SnntorchNeuron:
    """Synaptic of snnTorch: two exponentials, that of the synapse's current and that of the potential.

    Args:
        alpha: share of the synaptic current that is left after a step.
        beta: share of the potential that is left after a step.
        threshold: as for ``snntorch_leaky``.
        reset: as for ``snntorch_leaky``; acts on the potential alone.
        surrogate: as for ``snntorch_leaky``.
        surrogate_scale: as for ``LIF``.
        learn_alpha: make α a parameter.
        learn_beta: make β a parameter.
        learn_threshold: make V_th a parameter.
        membrane: as for ``snntorch_leaky``.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes; the state of ``step`` is I and U as [2, B, ...].

    Raises:
        OptionError: for a value out of its range.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Eshraghian et al. 2023, as for ``snntorch_leaky``; ``snntorch.Synaptic``.
    """
    decays = {"alpha": alpha, "beta": beta}
    learned = {"learn_alpha": learn_alpha, "learn_beta": learn_beta, "learn_threshold": learn_threshold}
    inner = _build("Synaptic", decays, learned, threshold, reset, surrogate, surrogate_scale)
    return SnntorchNeuron(inner, ("syn", "mem"), membrane)


def snntorch_alpha(
    *,
    alpha: float = 0.9,
    beta: float = 0.8,
    threshold: float = 1.0,
    reset: str = "zero",
    surrogate: str = "snntorch.atan",
    surrogate_scale: float | None = None,
    learn_threshold: bool = False,
    membrane: nn.Module | None = None,
) -> SnntorchNeuron:
    """Alpha of snnTorch: the potential is the difference of two exponentials, so it rises and falls smoothly.

    A current does not move the potential in the step in which it comes: at least one step goes by before a spike.

    Args:
        alpha: share of the excitatory current E that is left after a step; must be over β.
        beta: share of the inhibitory current I that is left after a step.
        threshold: as for ``snntorch_leaky``.
        reset: as for ``snntorch_leaky``; acts on E and I too.
        surrogate: as for ``snntorch_leaky``.
        surrogate_scale: as for ``LIF``.
        learn_threshold: make V_th a parameter.
        membrane: as for ``LIF``; the gated potential fires, and decides the reset of the next step.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes; the state of ``step`` is E, I and U as [3, B, ...].

    Raises:
        OptionError: for a value out of its range, as an α that is not over β.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Eshraghian et al. 2023, as for ``snntorch_leaky``; ``snntorch.Alpha``. Differs: neither decay can be learned:
        snnTorch's own option for α raises an error, and a learned β may pass α, where τ means nothing.
    """
    check_between(0, 1, alpha=alpha, beta=beta)
    if alpha <= beta:
        raise OptionError(f"alpha={alpha}: must be over beta, which is {beta}")
    decays, learned = {"alpha": alpha, "beta": beta}, {"learn_threshold": learn_threshold}
    inner = _build("Alpha", decays, learned, threshold, reset, surrogate, surrogate_scale)
    return SnntorchNeuron(inner, ("syn_exc", "syn_inh", "mem"), membrane)


def _build(
    kind: str,
    decays: dict[str, float],
    learned: dict[str, bool],
    threshold: float,
    reset: str,
    surrogate: str,
    surrogate_scale: float | None,
) -> nn.Module:
    """A neuron of snnTorch, its options checked."""
    import snntorch

    if reset not in RESET_MECHANISMS:
        raise unknown_name("reset", reset, RESET_MECHANISMS)
    check_between(0, 1, **decays)  # snnTorch clamps them without a word
    check_positive(threshold=threshold)
    check_flag(**learned)
    numbers: dict[str, Any] = {name: float(value) for name, value in {**decays, "threshold": threshold}.items()}
    spike = find_surrogate(surrogate, surrogate_scale)
    with torch.device("cpu"):  # snnTorch looks at its values; on the meta device, where sites are listed, are none
        inner: nn.Module = getattr(snntorch, kind)(**numbers, **learned, reset_mechanism=reset, spike_grad=spike)
    inner.instances.remove(inner)  # type: ignore[operator,union-attr]  # snnTorch lists all for ever: none would be freed
    return inner
