"""Kernels that do in one pass what PyTorch does in many: operators, each with a plain twin in the module that calls it.

``QUIETSPIKE_KERNELS=reference`` in the environment turns them off, and ``reference()`` does for a block of code.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from quietspike.core.errors import look_up

VARIABLE = "QUIETSPIKE_KERNELS"
CHOICES = {"auto": True, "reference": False}

GPU_TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Numbers that kernels on GPUs take. Triton hands constants over as float32, too short for float64."""

OLDEST_GPU = (8, 0)
"""Compute capability that Triton's README asks for; Triton 3.2 fails to compile bfloat16 for those before it."""

_off: ContextVar[bool] = ContextVar("off", default=False)


@contextmanager
def reference() -> Iterator[None]:
    """Without kernels: everything inside runs as plain PyTorch."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def fused(x: Tensor, *, triton: bool = False) -> bool:
    """Whether kernels are to be used for what is computed from x, and there are any for where it lies.

    Not while ``torch.compile`` looks: it makes kernels of its own from the plain twins. Nor while ``torch.jit`` traces,
    which would not see what they write, or in forward-mode differentiation, of which they know nothing.

    Args:
        x: on a CPU, of any floating type; or on a GPU, where float64 is left to the plain twins.
        triton: whether there are kernels for GPUs, too.

    Raises:
        UnknownNameError: if the environment names something else.
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing() or forward_ad._current_level >= 0:
        return False
    chosen = look_up(VARIABLE, os.environ.get(VARIABLE, "auto"), CHOICES)
    if not chosen or _off.get():
        return False
    if x.device.type == "cuda":
        return triton and x.dtype in GPU_TYPES and _runs_triton(x.device)
    return x.device.type == "cpu" and x.dtype.is_floating_point


def weights_fit(module: nn.Module) -> bool:
    """Whether a module's weights can be multiplied by what kernels pool, float32 or float64: not of half precision."""
    return not any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in module.parameters())


@functools.cache
def _runs_triton(device: torch.device) -> bool:
    """Whether Triton is there, and compiles for a GPU; asked only where there is one, so that no other loads it."""
    try:
        importlib.import_module("triton")
    except ImportError:
        return False
    return torch.cuda.get_device_capability(device) >= OLDEST_GPU
