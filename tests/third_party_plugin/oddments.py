"""An attention and a data set that quietspike knows nothing of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quietspike.core import AttentionMacs, Site
from quietspike.core.contracts import FrameSplit, SplitName


class Gain(nn.Module):
    """A learned scale for each channel.

    Args:
        site: where it is placed; reads ``channels``.
        start: the scale before training.

    Shape:
        [T, B, C, ...] → the same.
    """

    def __init__(self, site: Site, *, start: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((site.channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.reshape(-1, *[1] * (x.ndim - 3))

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        return AttentionMacs(weights=0, applying=math.prod(shape))


class Blobs:
    """A square of events that stands still in one of the four corners, among noise events."""

    classes = ("upper left", "upper right", "lower left", "lower right")

    def __init__(self, *, steps: int = 4, seed: int = 0, size: int = 8, samples: int = 24) -> None:
        self.steps = steps
        self.input_shape = (2, size, size)
        self._seed = seed
        self._samples = samples

    def split(self, name: SplitName) -> FrameSplit:
        number = ("train", "validation", "test").index(name)
        random = torch.Generator().manual_seed(3 * self._seed + number)
        _, height, width = self.input_shape
        shape = (self._samples, self.steps, *self.input_shape)
        labels = torch.arange(self._samples) % len(self.classes)
        chance = torch.full(shape, 0.02)
        for sample, label in zip(chance, labels.tolist(), strict=True):
            lower, right = divmod(label, 2)
            top, left = lower * height // 2, right * width // 2
            sample[..., top : top + height // 2, left : left + width // 2] = 0.5
        return _Split(torch.bernoulli(chance, generator=random), labels)


class _Split:
    def __init__(self, frames: Tensor, labels: Tensor) -> None:
        self._frames = frames
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._frames[index], int(self._labels[index])
