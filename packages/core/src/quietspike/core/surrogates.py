"""Surrogate gradients: a spike is a step forwards and a smooth bump backwards.

Each is named by the derivative that stands in for the step's, as a function of x = U − V_th. A spike fires at x ≥ 0.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from quietspike.core.checks import check_positive
from quietspike.core.errors import OptionError, look_up

SpikeFunction: TypeAlias = Callable[[Tensor], Tensor]
"""From x = U − V_th to spikes of the same shape, 0 or 1."""


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, excess: Tensor, derivative: Callable[[Tensor, float], Tensor], scale: float) -> Tensor:
        ctx.save_for_backward(excess)
        ctx.derivative, ctx.scale = derivative, scale
        return (excess >= 0).to(excess.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (excess,) = ctx.saved_tensors
        return grads[0] * ctx.derivative(excess, ctx.scale), None, None


@dataclass(frozen=True)
class Surrogate:
    """A spike function as plain data, so that a neuron can be pickled and kernels know it.

    Args:
        name: one of ``SURROGATES``.
        scale: its parameter.
    """

    name: str
    scale: float

    def __call__(self, excess: Tensor) -> Tensor:
        """Spikes of x = U − V_th."""
        spikes: Tensor = _Spike.apply(excess, SLOPES[self.name], self.scale)  # type: ignore[no-untyped-call]
        return spikes


def rectangular(half_width: float = 0.25) -> SpikeFunction:
    """1 / (2a) where |x| < a, else 0. Source: Wu et al. 2018 (STBP), h₁; MA-SNN and ASA-SNN with a = 0.25."""
    return Surrogate("rectangular", half_width)


def atan(alpha: float = 2.0) -> SpikeFunction:
    """α / 2 / (1 + (π α x / 2)²). Source: Fang et al. 2021 (PLIF), with α = 2."""
    return Surrogate("atan", alpha)


def sigmoid(alpha: float = 4.0) -> SpikeFunction:
    """α σ(αx) (1 − σ(αx)). Source: Neftci et al. 2019, Surrogate Gradient Learning."""
    return Surrogate("sigmoid", alpha)


def fast_sigmoid(slope: float = 25.0) -> SpikeFunction:
    """1 / (1 + k|x|)². Source: Zenke and Ganguli 2018, SuperSpike."""
    return Surrogate("fast_sigmoid", slope)


def _rectangle(x: Tensor, half_width: float) -> Tensor:
    return (x.abs() < half_width) * (1 / (2 * half_width))


def _atan_slope(x: Tensor, alpha: float) -> Tensor:
    return alpha / 2 / (1 + (math.pi / 2 * alpha * x).square())


def _sigmoid_slope(x: Tensor, alpha: float) -> Tensor:
    return alpha * torch.sigmoid(alpha * x) * torch.sigmoid(-alpha * x)


def _fast_sigmoid_slope(x: Tensor, slope: float) -> Tensor:
    return 1 / (1 + slope * x.abs()).square()


SLOPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "rectangular": _rectangle,
    "atan": _atan_slope,
    "sigmoid": _sigmoid_slope,
    "fast_sigmoid": _fast_sigmoid_slope,
}

SURROGATES: dict[str, Callable[..., SpikeFunction]] = {
    "rectangular": rectangular,
    "atan": atan,
    "sigmoid": sigmoid,
    "fast_sigmoid": fast_sigmoid,
}


def surrogate(name: str, scale: float | None = None) -> SpikeFunction:
    """The spike function of a name.

    Args:
        name: one of ``SURROGATES``, or ``snntorch.<name>`` for one of snnTorch's (these fire at x > 0).
        scale: its one parameter (half-width, α or slope), its own default where ``None``; of snnTorch's two, the slope
            or the variance.

    Raises:
        UnknownNameError: if there is none of that name.
        OptionError: if the scale is not positive, or the function takes none.
    """
    if scale is not None:
        check_positive(surrogate_scale=scale)
    table = _snntorch_surrogates() if isinstance(name, str) and name.startswith("snntorch.") else SURROGATES
    factory = look_up("surrogate", name, table)
    if scale is None:
        spike: SpikeFunction = factory()
        return spike
    parameters = list(inspect.signature(factory).parameters)
    if not parameters:
        raise OptionError(f"surrogate_scale={scale}: {name} takes none")
    return factory(**{_scale_name(parameters): scale})


def _scale_name(parameters: list[str]) -> str:
    """Most have one parameter; those of snnTorch with two call the one that is a scale ``slope`` or ``variance``."""
    return next((name for name in ("slope", "variance") if name in parameters), parameters[0])


def _snntorch_surrogates() -> dict[str, Callable[..., SpikeFunction]]:
    from snntorch import surrogate as theirs

    known = {key: value for key, value in vars(theirs).items() if inspect.isfunction(value) and not key.startswith("_")}
    known.pop("custom_surrogate", None)  # takes a function
    known.pop("LSO", None)  # snnTorch's own fails when it is called: it leaves an argument out
    return {f"snntorch.{key}": value for key, value in known.items()}
