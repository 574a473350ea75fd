"""The file of a study, which a SIGKILL at any moment leaves readable and free."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def open_journal(path: Path) -> JournalStorage:
    """Optuna's storage in a file, made if it is not there."""
    return JournalStorage(JournalFileBackend(str(path), lock_obj=cast(Any, _WriteLock(path))))


class _WriteLock:
    """What Optuna holds while it appends to the journal.

    The kernel frees it when its holder dies, where Optuna's own must first grow 30 s old. Who takes it cuts off what a
    killed writer left of a line: Optuna would append behind it, and then refuse the whole file.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        cut_unfinished_line(self._journal)
        return True

    def release(self) -> None:
        self._lock.release()


def cut_unfinished_line(path: Path) -> None:
    """Remove what stands behind a file's last line end."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
