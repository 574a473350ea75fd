"""Worker processes that are replaced when they die, and that die with their driver."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from quietspike.core import QuietspikeError
from quietspike.search.allocation import keep_freed_memory

Watch = Callable[[], None]
"""Called now and then by the driver, to show progress."""

IDLE_DEATHS = 3
"""Workers that die so often without having lost any work cannot run at all."""


def run_crew(
    work: Callable[..., None],
    args: tuple[Any, ...],
    *,
    workers: int,
    threads: int,
    watch: Watch,
    lost: Callable[[], int],
) -> None:
    """Run ``work(*args, worker)`` in processes until all of them end by themselves.

    Args:
        work: a module-level function; ends when nothing is left to do.
        args: for it; pickled.
        workers: how many processes.
        threads: of torch, in each.
        watch: called at least twice a second.
        lost: called when a process died; says how many pieces of work it took with it.

    Raises:
        QuietspikeError: if processes die again and again before they have begun anything.
    """
    context = multiprocessing.get_context("spawn")  # fork breaks OpenMP and CUDA

    def start(worker: int) -> BaseProcess:
        process = context.Process(target=_member, args=(work, args, worker, threads), daemon=True)
        process.start()
        return process

    crew = {worker: start(worker) for worker in range(workers)}
    idle_deaths = 0
    try:
        while crew:
            connection.wait([process.sentinel for process in crew.values()], timeout=0.5)
            watch()
            for worker, process in list(crew.items()):
                if process.exitcode is None:
                    continue
                del crew[worker]
                if process.exitcode == 0:
                    continue
                idle_deaths = 0 if lost() else idle_deaths + 1
                if idle_deaths >= IDLE_DEATHS:
                    raise QuietspikeError(f"workers die before they begin (exit code {process.exitcode})")
                crew[worker] = start(worker)
    finally:
        for process in crew.values():
            process.kill()
            process.join()


def _member(work: Callable[..., None], args: tuple[Any, ...], worker: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    threading.Thread(target=_die_with_driver, daemon=True).start()
    prepare_worker(threads)
    work(*args, worker)


def prepare_worker(threads: int) -> None:
    """What any engine's worker does before it trains."""
    torch.set_num_threads(threads)
    keep_freed_memory()


def _die_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        connection.wait([driver.sentinel])
        os._exit(1)
