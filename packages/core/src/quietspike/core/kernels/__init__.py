"""Kernels that do in one pass what PyTorch does in many: operators, each with a plain twin in the module that calls it.

``QUIETSPIKE_KERNELS=reference`` in the environment turns them off, and ``reference()`` does for a block of code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from quietspike.core.errors import look_up

VARIABLE = "QUIETSPIKE_KERNELS"
CHOICES = {"auto": True, "reference": False}

_off: ContextVar[bool] = ContextVar("off", default=False)


@contextmanager
def reference() -> Iterator[None]:
    """Without kernels: everything inside runs as plain PyTorch."""
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def fused(x: Tensor) -> bool:
    """Whether kernels are to be used for what is computed from x, and there are any for where it lies.

    Not while ``torch.compile`` looks: it makes kernels of its own from the plain twins.

    Raises:
        UnknownNameError: if the environment names something else.
    """
    if torch.compiler.is_compiling():
        return False
    chosen = look_up(VARIABLE, os.environ.get(VARIABLE, "auto"), CHOICES)
    return chosen and not _off.get() and x.device.type == "cpu" and x.dtype.is_floating_point
