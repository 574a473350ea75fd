"""A split over frames that stay on disk: what is asked for is read, and becomes float32, a batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quietspike.datasets.frames import Frames


class FrameArrays:
    """Some of the samples of an array of frames.

    Args:
        frames: [N, T, 2, H, W] uint8, usually a memory map; it is never copied as a whole.
        labels: [N] class indices.
        indices: the samples of this split, in its order; all of them where left out.

    Shape:
        ``split[i]`` → ([T, 2, H, W] float32, int); ``split.__getitems__(indices)`` → ([B, T, 2, H, W] float32, [B]
        int64), in one read.
    """

    def __init__(
        self, frames: Frames, labels: npt.NDArray[np.int64], indices: npt.NDArray[np.int64] | None = None
    ) -> None:
        self._frames = frames
        self.indices = np.arange(len(frames)) if indices is None else indices
        self.labels: npt.NDArray[np.int64] = np.asarray(labels)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = np.array(self._frames[self.indices[index]])
        return torch.from_numpy(sample).to(torch.float32), int(self.labels[index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A batch, in the order asked for."""
        chosen = np.asarray(indices, dtype=np.int64)
        frames = np.ascontiguousarray(self._frames[self.indices[chosen]])
        return torch.from_numpy(frames).to(torch.float32), torch.from_numpy(self.labels[chosen])
