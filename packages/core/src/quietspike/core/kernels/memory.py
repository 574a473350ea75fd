"""How tensors lie in memory, as kernels want them: step after step, without gaps."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

_HALVES = (torch.float16, torch.bfloat16)


def dense(x: Tensor) -> Tensor:
    """[T, B, ...] whose steps follow one another without gaps, contiguous or channels last; half numbers as float32."""
    x = x.float() if x.dtype in _HALVES else x
    return x if x.is_contiguous() or is_channels_last(x) else x.contiguous()


def like(x: Tensor, other: Tensor) -> Tensor:
    """The same numbers, in another tensor's type and order in memory."""
    if x.stride() == other.stride() and x.dtype == other.dtype:
        return x
    return torch.empty_like(other).copy_(x)


def is_channels_last(x: Tensor) -> bool:
    """Whether [T, B, C, H, W] lies in memory as [T, B, H, W, C]."""
    return x.dim() == 5 and x.permute(0, 1, 3, 4, 2).is_contiguous()


def as_rows(x: Tensor) -> npt.NDArray[Any]:
    """The memory of a dense [T, B, ...] as an array [T, N], which it shares."""
    steps = x.shape[0]
    size = x.numel() // max(steps, 1)
    rows: npt.NDArray[Any] = torch.as_strided(x.detach(), (steps, size), (size, 1)).numpy()
    return rows
