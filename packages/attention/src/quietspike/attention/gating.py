"""Features gated by time, channels and space in as few passes as the algebra allows.

    out = X · Σ_k planes_k · places_k,   over groups k: one, or ASA's two, whose planes are a mask and what it leaves

A plane is a step's and channel's [H, W], a place an h, w. Gates are not negative, so what attention pools of gated
features follows from what it pools of the features:

    max(g·X) = g·max X,   mean(g·X) = g·mean X      of a plane, all of which has one gate of time and channels

Time and channels need the mean and maximum of each plane, one pass for both. Space needs another, weighed by the gates
before it, and a third pass applies all gates and the ReLU. Backwards it is three passes too: for the gates of
space, for those of planes, and for the features. What is small between them is plain PyTorch.

Source: Yao et al. 2023, Attention Spiking Neural Networks, TCSA and its parts; Yao et al. 2023, Inherent Redundancy in
Spiking Neural Networks, ASA; exact but for rounding.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quietspike.attention import gating_cpu as kernels
from quietspike.core.kernels.memory import as_array, number_of
from quietspike.core.kernels.threads import over_parts

Array: TypeAlias = npt.NDArray[Any]


class Features:
    """The features of one call, and all that their gradient is gathered from.

    Autograd comes back through ``gate``, ``place_statistics``, ``plane_statistics`` in this order; the last of them
    that was asked gives the gradient of x.

    Args:
        x: [T, B, C, H, W].
        relu: whether negative values become zero at the end.
    """

    def __init__(self, x: Tensor, *, relu: bool) -> None:
        self.shape = steps, batch, channels, height, width = x.shape
        self.dtype = x.dtype
        self.relu = relu
        self.frames = self.read(x)
        self.memory = as_array(self.frames)
        number = number_of(x)
        self.number = torch.float64 if number is np.float64 else torch.float32
        self.planes = np.ones((1, steps, batch, channels), number)
        self.places = np.ones((1, 1, batch, height * width), number)
        self.gradients = self.memory
        self.of_place_means = np.zeros_like(self.places)
        self.place_maxima = np.full_like(self.places, np.inf)
        self.of_place_maxima = np.zeros_like(self.places)

    def plane_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and maximum of each plane, and how many places have it, [T, B, C]."""
        found: tuple[Tensor, Tensor, Tensor] = _Planes.apply(x, self)  # type: ignore[no-untyped-call]
        return found

    def place_statistics(self, x: Tensor, planes: Tensor | None, *, per_step: bool) -> tuple[Tensor, Tensor]:
        """Mean and maximum of ``planes`` · x at each place, over channels and, unless ``per_step``, steps.

        Shape:
            planes [G, T, B, C], or ``None`` for one group of ones → [G, S, B, 1, H, W] with S = T or 1.
        """
        direct = planes is None or not planes.requires_grad  # else x is reached through the statistics of planes
        found: tuple[Tensor, Tensor] = _Places.apply(x if direct else None, planes, self, per_step)  # type: ignore[no-untyped-call]
        return found

    def gate(self, planes: Tensor | None, places: Tensor | None) -> Tensor:
        """The features, gated by planes [G, T, B, C] and places [G, S, B, 1, H, W]."""
        out: Tensor = _Gate.apply(planes, places, self)  # type: ignore[no-untyped-call]
        return out

    def read(self, x: Tensor) -> Tensor:
        """[T, B, C, H, W] as [T, B, H·W, C], the same memory where it lies so; float16 as float32."""
        frames = x.detach().to(torch.float32 if self.dtype == torch.float16 else self.dtype)
        return frames.permute(0, 1, 3, 4, 2).contiguous().flatten(2, 3)

    def write(self, frames: Tensor) -> Tensor:
        """The reverse, in the type of the features."""
        steps, batch, channels, height, width = self.shape
        return frames.view(steps, batch, height, width, channels).permute(0, 1, 4, 2, 3).to(self.dtype)

    def small(self, x: Tensor) -> Array:
        """Gates or their gradients, in the type of the kernels."""
        array: Array = x.detach().to(self.number).contiguous().numpy()
        return array

    def over_planes(self, kernel: Any, *arrays: Any) -> None:
        """Run a kernel over parts of T·B."""
        over_parts(lambda start, stop: kernel(self.memory, *arrays, start, stop), self.shape[0] * self.shape[1], 1)

    def over_places(self, kernel: Any, *arrays: Any) -> None:
        """Run a kernel over parts of B·⌈P / rows⌉."""
        rows = max(1, kernels.LANES // self.shape[2])
        parts = self.shape[1] * -(-self.memory.shape[2] // rows)
        over_parts(lambda start, stop: kernel(self.memory, self.planes, *arrays, rows, start, stop), parts, 1)

    def gradient_of_planes(self) -> Tensor:
        """The gradient of the gates of planes."""
        found = np.empty_like(self.planes)
        self.over_planes(kernels.plane_gradients, *self._known, found)
        return torch.from_numpy(found)

    def gradient_of_features(self, means: Array, maxima: Array, shares: Array) -> Tensor:
        """The gradient of x, with what comes through the statistics of planes."""
        out = torch.empty_like(self.frames)
        self.over_planes(kernels.feature_gradients, *self._known, means, maxima, shares, as_array(out))
        return self.write(out)

    @property
    def _known(self) -> tuple[Any, ...]:
        of_places = self.of_place_means, self.place_maxima, self.of_place_maxima
        return self.planes, self.places, self.gradients, self.relu, *of_places


class _Planes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Features) -> tuple[Tensor, ...]:
        means, maxima, ties = np.empty((3, *features.planes.shape[1:]), features.planes.dtype)
        features.over_planes(kernels.plane_statistics, means, maxima, ties)
        ctx.save_for_backward(x)  # so that torch sees where it was changed meanwhile
        ctx.features, ctx.maxima, ctx.ties = features, maxima, ties
        found = tuple(map(torch.from_numpy, (means, maxima, ties)))
        ctx.mark_non_differentiable(found[2])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None]:
        features: Features = ctx.features
        _ = ctx.saved_tensors
        by_mean, by_max = map(features.small, given[:2])
        every = by_mean / features.memory.shape[2]
        return features.gradient_of_features(every, ctx.maxima, by_max / ctx.ties), None


class _Places(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor | None, planes: Tensor | None, features: Features, per_step: bool
    ) -> tuple[Tensor, ...]:
        steps, batch, _, height, width = features.shape
        if x is not None:
            ctx.save_for_backward(x)
        if planes is not None:
            features.planes = features.small(planes)
        maps = steps if per_step else 1
        shape = len(features.planes), maps, batch
        means, maxima, ties = np.empty((3, *shape, height * width), features.planes.dtype)
        features.over_places(kernels.place_statistics, means, maxima, ties)
        features.place_maxima = maxima
        ctx.features, ctx.ties = features, ties
        ctx.summed = features.shape[2] * steps // maps
        return tuple(torch.from_numpy(found).view(*shape, 1, height, width) for found in (means, maxima))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features: Features = ctx.features
        _ = ctx.saved_tensors
        by_mean, by_max = (features.small(gradient).reshape(ctx.ties.shape) for gradient in given)
        features.of_place_means, features.of_place_maxima = by_mean / ctx.summed, by_max / ctx.ties
        if ctx.needs_input_grad[1]:
            return None, features.gradient_of_planes(), None, None
        nothing = np.zeros_like(features.planes[0])
        return features.gradient_of_features(nothing, nothing, nothing), None, None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor | None, places: Tensor | None, features: Features) -> Tensor:
        if planes is not None:
            features.planes = features.small(planes)
        if places is not None:
            features.places = features.small(places.flatten(3))
        out = torch.empty_like(features.frames)
        features.over_planes(kernels.apply_gates, features.planes, features.places, features.relu, as_array(out))
        ctx.features, ctx.shape = features, None if places is None else places.shape
        return features.write(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features: Features = ctx.features
        features.gradients = as_array(features.read(given[0]))
        if ctx.shape is None:
            return features.gradient_of_planes(), None, None
        found = np.empty_like(features.places)
        features.over_places(kernels.place_gradients, features.gradients, features.relu, found)
        return None, torch.from_numpy(found).view(ctx.shape), None


def largest(values: Tensor, ties: Tensor, dimension: int) -> Tensor:
    """The maximum over a dimension that stays as size 1, as of the features behind it: each shares its gradient.

    Args:
        values: maxima of parts.
        ties: how many features have each.
        dimension: over which.
    """
    known = values.detach()
    top = known.amax(dimension, keepdim=True)
    tied = torch.where(known == top, ties, 0)
    shares = tied / tied.sum(dimension, keepdim=True)
    return top + (shares * (values - known)).sum(dimension, keepdim=True)
