"""Planes and places of features gated in as few passes as the algebra allows.

Gates are positive, so of gated features everything follows from few numbers of the features themselves:

    max(g·X) = g·max X,   mean(g·X) = g·mean X      of a plane [H, W], where g is one number for it

Time and channels need each plane's mean and maximum, one pass for both of them. Space needs another, weighed by the
gates before it; a third applies all gates and the ReLU. Backwards it is three passes too: what comes through the gates of
space, of planes, and what is left for the features. All that is small between them is plain PyTorch.

Source: Yao et al. 2023, Attention Spiking Neural Networks, TCSA and its parts; exact but for rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from quietspike.attention import gating_cpu as kernels
from quietspike.core.kernels.threads import over_parts


class Features:
    """Features of one call, and what their gradients are gathered from.

    Args:
        x: [T, B, C, H, W].
        relu: whether negative values become zero at the end.
    """

    def __init__(self, x: Tensor, *, relu: bool) -> None:
        self.shape = x.shape
        self.dtype = x.dtype
        self.relu = relu
        steps, batch, channels, height, width = x.shape
        self.memory = _channels_last(x.detach())
        self.planes = np.ones((steps, batch, channels), self.memory.dtype)
        self.places = np.ones((1, batch, height * width), self.memory.dtype)
        self.place_maxima = np.full_like(self.places, np.inf)
        self.mean_gradients = np.zeros_like(self.places)
        self.max_gradients = np.zeros_like(self.places)
        self.gradients = self.memory

    def plane_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and maximum of each plane, [T, B, C], and how many places have it; gradients of x come out here."""
        found: tuple[Tensor, Tensor, Tensor] = _Planes.apply(x, self)
        return found

    def place_statistics(self, planes: Tensor | None, x: Tensor, per_step: bool) -> tuple[Tensor, Tensor]:
        """Mean and maximum of each place [S, B, 1, H, W] over channels of ``planes`` · x, and steps unless ``per_step``.

        Without ``planes`` gradients of x come out here.
        """
        found: tuple[Tensor, Tensor] = _Places.apply(planes, x if planes is None else None, self, per_step)
        return found

    def gate(self, planes: Tensor | None, places: Tensor | None) -> Tensor:
        """The features, gated by planes [T, B, C] and places [S, B, 1, H, W]."""
        out: Tensor = _Gate.apply(planes, places, self)
        return out

    @property
    def rows(self) -> int:
        """Places that are summed at once."""
        return max(1, kernels.LANES // self.shape[2])

    def over_planes(self, kernel: Any, *arrays: Any) -> None:
        """Run a kernel over parts of T·B."""
        over_parts(lambda start, stop: kernel(self.memory, self.planes, *arrays, start, stop), self.shape[0] * self.shape[1], 1)

    def over_places(self, kernel: Any, *arrays: Any) -> None:
        """Run a kernel over parts of B·⌈P / rows⌉."""
        parts = self.shape[1] * -(-self.memory.shape[2] // self.rows)
        over_parts(lambda start, stop: kernel(self.memory, self.planes, *arrays, self.rows, start, stop), parts, 1)

    def by_planes(self) -> Tensor:
        """The gradient of the gates of planes, [T, B, C]."""
        found = np.empty_like(self.planes)
        self.over_planes(
            kernels.plane_gradients, self.places, self.gradients, self.relu, self.mean_gradients, self.place_maxima, self.max_gradients, found
        )
        return torch.from_numpy(found)

    def by_features(self, means: Any, maxima: Any, shares: Any) -> Tensor:
        """The gradient of x."""
        out = np.empty_like(self.memory)
        self.over_planes(
            kernels.feature_gradients, self.places, self.gradients, self.relu, self.mean_gradients, self.place_maxima, self.max_gradients,
            means, maxima, shares, out,
        )
        return _as_features(out, self.shape)


class _Planes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        means, maxima, ties = (np.empty_like(features.planes) for _ in range(3))
        over_parts(
            lambda start, stop: kernels.plane_statistics(features.memory, means, maxima, ties, start, stop),
            x.shape[0] * x.shape[1],
            1,
        )
        ctx.features, ctx.maxima, ctx.ties = features, maxima, ties
        found = torch.from_numpy(means), torch.from_numpy(maxima), torch.from_numpy(ties)
        ctx.mark_non_differentiable(found[2])
        return found

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_max: Tensor, _: Tensor) -> tuple[Tensor, None]:
        features: Features = ctx.features
        every = by_mean.numpy() / features.memory.shape[2]
        return features.by_features(every, ctx.maxima, by_max.numpy() / ctx.ties), None


class _Places(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor | None, x: Tensor | None, features: Features, per_step: bool) -> tuple[Tensor, Tensor]:
        steps, batch, _, height, width = features.shape
        if planes is not None:
            features.planes = np.ascontiguousarray(planes.detach().numpy())
        size = (steps if per_step else 1, batch, height * width)
        means, maxima, ties = (np.empty(size, features.memory.dtype) for _ in range(3))
        features.over_places(kernels.place_statistics, means, maxima, ties)
        features.place_maxima = maxima
        ctx.features, ctx.ties, ctx.inner = features, ties, planes is not None
        shape = (size[0], batch, 1, height, width)
        return torch.from_numpy(means).view(shape), torch.from_numpy(maxima).view(shape)

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_max: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features: Features = ctx.features
        size = ctx.ties.shape
        summed = features.shape[2] * (features.shape[0] // size[0])
        features.mean_gradients = by_mean.reshape(size).numpy() / summed
        features.max_gradients = by_max.reshape(size).numpy() / ctx.ties
        if ctx.inner:
            return features.by_planes(), None, None, None
        nothing = np.zeros_like(features.planes)
        return None, features.by_features(nothing, nothing, nothing), None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor | None, places: Tensor | None, features: Features) -> Tensor:
        if planes is not None:
            features.planes = np.ascontiguousarray(planes.detach().numpy())
        if places is not None:
            features.places = np.ascontiguousarray(places.detach().flatten(2).numpy())
        out = np.empty_like(features.memory)
        features.over_planes(kernels.apply_gates, features.places, out, features.relu)
        ctx.features, ctx.shape = features, None if places is None else places.shape
        return _as_features(out, features.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features: Features = ctx.features
        features.gradients = _channels_last(gradient)
        if ctx.shape is None:
            return features.by_planes(), None, None
        found = np.empty_like(features.places)
        features.over_places(kernels.place_gradients, features.gradients, features.relu, found)
        return None, torch.from_numpy(found).view(ctx.shape), None


def largest(values: Tensor, ties: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The maximum over a dimension, and how many have it; each of them gets an equal share of its gradient."""
    top = values.detach().amax(dim, keepdim=True)
    tied = torch.where(values.detach() == top, ties, 0)
    count = tied.sum(dim, keepdim=True)
    shares = tied / count
    return top + (shares * (values - values.detach())).sum(dim, keepdim=True), count


def _channels_last(x: Tensor) -> Any:
    """[T, B, C, H, W] as an array [T, B, H·W, C]; the same memory where it lies so."""
    return x.permute(0, 1, 3, 4, 2).contiguous().flatten(2, 3).numpy()


def _as_features(memory: Any, shape: torch.Size) -> Tensor:
    steps, batch, channels, height, width = shape
    return torch.from_numpy(memory).view(steps, batch, height, width, channels).permute(0, 1, 4, 2, 3)
