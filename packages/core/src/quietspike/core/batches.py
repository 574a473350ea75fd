"""Batches of a data set's split, in an order that depends on a seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from quietspike.core.contracts import FrameSplit
from quietspike.core.errors import DataError
from quietspike.core.seeds import derive_seed
from quietspike.core.voting import ONE_CLIP, Voting


@dataclass(frozen=True)
class Batches:
    """A split, cut into batches; any epoch's order can be had without those before it.

    Args:
        split: the samples; its ``__getitems__`` is used where it has one.
        size: samples in a batch; the last one may be smaller.
        seed: shuffles anew each epoch, for training; in the split's own order where ``None``. A last batch of one is
            then joined to the one before it, since batch normalisation cannot learn from a single value.
    """

    split: FrameSplit
    size: int
    seed: int | None = None

    @property
    def voting(self) -> Voting:
        """How the clips of a sample decide on it."""
        voting: Voting = getattr(self.split, "voting", ONE_CLIP)
        return voting

    @property
    def images(self) -> bool:
        """Whether frames are still images, not events."""
        images: bool = getattr(self.split, "images", False)
        return images

    def epoch(self, number: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch; of a split that differs between epochs, as it is in that one.

        Shape:
            frames [T, B, C, H, W] float32 and classes [B] int64.

        Raises:
            DataError: if the split is empty.
        """
        at_epoch = getattr(self.split, "at_epoch", None)
        split = self.split if at_epoch is None else at_epoch(number, self.seed or 0)
        count = len(split)
        if count == 0:
            raise DataError("a split without samples cannot be cut into batches")
        if self.seed is None:
            order = torch.arange(count)
        else:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", number))
            order = torch.randperm(count, generator=generator)
        starts = list(range(0, count, self.size))
        if self.seed is not None and self.size > 1 and len(starts) > 1 and count - starts[-1] == 1:
            starts.pop()
        for start, end in zip(starts, [*starts[1:], count], strict=True):
            indices = order[start:end]
            yield _collate(split, indices.tolist())


def _collate(split: FrameSplit, indices: list[int]) -> tuple[Tensor, Tensor]:
    fetch_all = getattr(split, "__getitems__", None)
    fetched = [split[index] for index in indices] if fetch_all is None else fetch_all(indices)
    if isinstance(fetched, tuple):
        frames, labels = fetched
    else:
        frames = torch.stack([torch.as_tensor(frame) for frame, _ in fetched])
        labels = [label for _, label in fetched]
    frames = torch.as_tensor(frames).transpose(0, 1).contiguous().to(torch.float32)  # moved while they are small
    return frames, torch.as_tensor(labels, dtype=torch.int64)
