"""A progress bar for what may take long, where somebody looks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

Progress: TypeAlias = Callable[[], None]
"""Called when one more is done."""

_PATIENCE_S = 2.0  # what is done sooner needs no bar


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Progress]:
    """A bar on a terminal's standard error, from two seconds on; without a terminal a line when they are over.

    Args:
        title: what goes on.
        total: how many will be done.
    """
    terminal = sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not terminal)
    task = bar.add_task(title, total=total)
    start, shown, lock = time.monotonic(), False, threading.Lock()

    def advance() -> None:
        nonlocal shown
        with lock:
            bar.advance(task)
            if not shown and time.monotonic() - start > _PATIENCE_S:
                shown = True
                bar.start()
                if not terminal:
                    print(f"{title} ({total} samples)", file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield advance
    finally:
        bar.stop()
