"""Integrate and fire: a neuron that forgets nothing until it fires."""

from __future__ import annotations

from torch import nn

from quietspike.core.neurons import LIF, Reset


def integrate_and_fire(
    *,
    threshold: float = 0.3,
    reset: Reset = "code",
    reset_value: float = 0.0,
    surrogate: str = "rectangular",
    surrogate_scale: float | None = None,
    detach_reset: bool = False,
    membrane: nn.Module | None = None,
) -> LIF:
    """Integrate-and-fire: ``LIF`` with a decay of 1.

        U[t] = H[t-1] + X[t];  S[t] = 1 where U[t] ≥ V_th, else 0;  H[t] = V_reset · S[t] + U[t] · (1 - S[t])

    With ``reset="subtract"``, H[t] = U[t] - V_th · S[t]. Without a leak, ``code`` and ``paper`` are the same rule. The
    defaults are those of ``lif``, so that the two differ in the leak alone.

    Args:
        threshold: as for ``LIF``.
        reset: as for ``LIF``.
        reset_value: as for ``LIF``.
        surrogate: as for ``LIF``.
        surrogate_scale: as for ``LIF``.
        detach_reset: as for ``LIF``.
        membrane: as for ``LIF``.

    Shape:
        [T, B, ...] currents → [T, B, ...] spikes.

    Raises:
        OptionError: for a value out of its range.
        UnknownNameError: for an unknown reset or surrogate.

    Source:
        Fang et al. 2021, Deep Residual Learning in Spiking Neural Networks, whose neurons these are with a threshold
        of 1, the surrogate ``atan`` and a detached reset. Differs: the default threshold and surrogate.
    """
    return LIF(
        decay=1.0,
        threshold=threshold,
        reset=reset,
        reset_value=reset_value,
        surrogate=surrogate,
        surrogate_scale=surrogate_scale,
        detach_reset=detach_reset,
        membrane=membrane,
    )
