"""Runs a kernel that lets go of the GIL over the parts of a range, on as many threads as torch has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}
"""By how many threads; empty, or one of them."""


def _forget() -> None:
    """Begin anew after a fork, which inherits a pool's object and none of its threads, and perhaps a closed lock."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def over_parts(kernel: Callable[[int, int], None], size: int, grain: int) -> None:
    """Call ``kernel(start, stop)`` for parts that together are ``range(size)``, at once where that pays.

    Args:
        kernel: what it writes for a part must not depend on the others.
        size: of the range.
        grain: parts begin at its multiples, and a thread gets at least one of it.
    """
    grains = -(-size // grain)
    threads = min(torch.get_num_threads(), grains)
    if threads <= 1:
        kernel(0, size)
        return
    cuts = [min(size, grain * (grains * part // threads)) for part in range(threads + 1)]
    others = [_pool(threads - 1).submit(kernel, cuts[part], cuts[part + 1]) for part in range(1, threads)]
    kernel(cuts[0], cuts[1])
    for other in others:
        other.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools.clear()
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="quietspike")
        return _pools[threads]
