"""How tensors lie in memory, as kernels want them: step after step, without gaps; and that it is used again."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

HALVES = torch.float16, torch.bfloat16


def dense(x: Tensor) -> Tensor:
    """[T, B, ...] whose steps follow one another without gaps, contiguous or channels last; float16 as float32."""
    x = x.float() if x.dtype == torch.float16 else x
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
    return as_array(torch.as_strided(x.detach(), (steps, size), (size, 1)))


def as_array(x: Tensor) -> npt.NDArray[Any]:
    """The memory of a tensor, which it shares; bfloat16 as the uint16 that kernels know it by."""
    array: npt.NDArray[Any] = (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
    return array


def number_of(x: Tensor) -> Any:
    """What kernels compute in for a tensor, ``np.float32`` or ``np.float64``."""
    return np.float64 if x.dtype == torch.float64 else np.float32


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for what is asked for next, in this process and from now on.

    Otherwise glibc hands large tensors back to the system and asks for fresh pages at each step, whose faults take
    longer than many layers. What it will need is taken, as addresses alone, where the system may use huge pages.
    Nothing is done on other systems, in other threads than the first, whose memory glibc keeps by other rules, or where
    the environment already says how to allocate.
    """
    if threading.current_thread() is threading.main_thread():
        _keep_freed_memory()


@functools.cache
def _keep_freed_memory() -> None:
    chosen = any(key.startswith("MALLOC_") or key == "GLIBC_TUNABLES" for key in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)  # never
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    start = libc.malloc(size)
    if start is not None:
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, (start + size - first) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(start)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MADV_HUGEPAGE, _HUGE_PAGE = 14, 2**21
