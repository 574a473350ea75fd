"""Worker processes that are replaced when they die, and that die with their driver."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch

from quietspike.core import QuietspikeError
from quietspike.core.kernels.memory import keep_freed_memory

Watch = Callable[[], None]
"""Called now and then by the driver, to show progress."""

CONTEXT = multiprocessing.get_context("spawn")  # fork breaks OpenMP and CUDA

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of a disk, a quota or a limit: what cannot be written now, and can be once there is room."""

IDLE_DEATHS = 3
"""Workers that die so often without having lost any work cannot run at all."""


class Member(NamedTuple):
    """A worker process, and where it says why it gave up."""

    process: BaseProcess
    complaint: connection.Connection[Any, str]


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
        workers: how many processes; none at all, where nothing is left to do.
        threads: of torch, in each.
        watch: called at least twice a second.
        lost: called when a process died; says how many pieces of work it took with it.

    Raises:
        QuietspikeError: if ``work`` raises one, or processes die again and again before they have begun anything.
    """
    crew: dict[int, Member] = {}

    def hire(worker: int) -> None:
        complaint, complain = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_work, args=(work, args, worker, threads, complain), daemon=True)
        crew[worker] = Member(process, complaint)  # before it starts, so that an interrupt finds it
        with signals_held():
            process.start()
        complain.close()

    idle_deaths = 0
    try:
        for worker in range(workers):
            hire(worker)
        while crew:
            connection.wait([member.process.sentinel for member in crew.values()], timeout=0.5)
            watch()
            for worker, member in list(crew.items()):
                code = member.process.exitcode
                if code is None:
                    continue
                del crew[worker]
                if code == 0:
                    continue
                _raise_complaint(member)
                idle_deaths = 0 if lost() else idle_deaths + 1
                if idle_deaths >= IDLE_DEATHS:
                    raise QuietspikeError(f"workers die before they begin (exit code {code})")
                hire(worker)
    finally:
        begun = [member.process for member in crew.values() if member.process.pid is not None]
        for process in begun:
            process.kill()
        for process in begun:
            process.join()


def prepare_worker(threads: int) -> None:
    """What any engine's worker does before it trains."""
    torch.set_num_threads(threads)
    keep_freed_memory()


@contextmanager
def room_asked() -> Iterator[None]:
    """A full disk is no placement's fault, and ends the search.

    Raises:
        QuietspikeError: in its stead.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise QuietspikeError(f"{error.filename or 'output'}: {error.strerror}; what had ended is kept") from error


def begin_worker(threads: int) -> None:
    """What a process of this driver's does first, once: it ends with the driver, and at SIGTERM."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_die_with_driver, daemon=True).start()
    prepare_worker(threads)


@contextmanager
def signals_held() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C, not even while they import: the driver handles it."""
    resource_tracker.ensure_running()  # else the first process starts it, and that lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    work: Callable[..., None],
    args: tuple[Any, ...],
    worker: int,
    threads: int,
    complain: connection.Connection[str, Any],
) -> None:
    begin_worker(threads)
    try:
        with room_asked():
            work(*args, worker)
    except QuietspikeError as error:
        complain.send(str(error))
        sys.exit(1)


def _raise_complaint(member: Member) -> None:
    try:
        raise QuietspikeError(member.complaint.recv())
    except EOFError:  # it was killed, and said nothing
        return


def _die_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        connection.wait([driver.sentinel])
        os._exit(1)
