"""Runs a kernel that lets go of the GIL over the parts of a range, on as many threads as torch has.

On torch's own threads where they are those of GNU's OpenMP, which wait for work with busy loops: threads of ours beside
them would get half of a processor. Elsewhere, and after a fork, which those do not survive, on a pool of Python's.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

Part = Callable[[int], None]

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}
"""By how many threads; empty, or one of them."""
_forked = False


def _forget() -> None:
    """Begin anew after a fork, which inherits a pool's object and none of its threads, and perhaps a closed lock."""
    global _lock, _forked
    _lock, _forked = threading.Lock(), True
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def over_parts(kernel: Callable[[int, int], None], size: int, grain: int) -> None:
    """Call ``kernel(start, stop)`` for parts that together are ``range(size)``, at once where that pays.

    Args:
        kernel: what it writes for a part must not depend on the others; it has no parts of its own, and other threads
            know nothing of ``torch.no_grad`` around the call.
        size: of the range.
        grain: parts begin at its multiples, and a thread gets at least one of it.
    """
    grains = -(-size // grain)
    threads = min(torch.get_num_threads(), grains)
    if threads <= 1:
        kernel(0, size)
        return
    cuts = [min(size, grain * (grains * part // threads)) for part in range(threads + 1)]

    def run(part: int) -> None:
        kernel(cuts[part], cuts[part + 1])

    openmp = None if _forked else _openmp()
    if openmp is None:
        _on_pool(run, threads)
    else:
        _on_openmp(openmp, run, threads)


def _on_pool(run: Part, threads: int) -> None:
    others = [_pool(threads - 1).submit(run, part) for part in range(1, threads)]
    run(0)
    for other in others:
        other.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools.clear()
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="quietspike")
        return _pools[threads]


_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The library of torch's threads, where it is the one that comes with torch's wheels for Linux."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    try:
        library = ctypes.CDLL(str(found[0]))
        library.GOMP_parallel.argtypes = _Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        library.GOMP_parallel.restype = None
        library.omp_get_thread_num.restype = library.omp_get_num_threads.restype = ctypes.c_int
    except (AttributeError, IndexError, OSError):
        return None
    return library


def _on_openmp(openmp: ctypes.CDLL, run: Part, threads: int) -> None:
    """Each thread of a team does its parts; there may be fewer threads than were asked for."""
    errors: list[BaseException] = []

    def body(_: int) -> None:
        try:
            for part in range(openmp.omp_get_thread_num(), threads, openmp.omp_get_num_threads()):
                run(part)
        except BaseException as error:  # it cannot pass through C
            errors.append(error)

    openmp.GOMP_parallel(_Body(body), None, threads, 0)
    if errors:
        raise errors[0]
