"""The file of a study, which a SIGKILL at any moment leaves readable and free."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Generator, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState


class Journal(JournalStorage):
    """Optuna's storage in a file, made if it is not there: what it costs does not grow with the trials that have ended.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = _JournalFile(path)
        self._ended: dict[int, list[FrozenTrial]] = {}
        super().__init__(self._file)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's, which looks at each trial each time; of those that have ended nothing changes."""
        if deepcopy:
            return super().get_all_trials(study_id, deepcopy, states)
        ended = self._ended.setdefault(study_id, [])
        with self._thread_lock:
            self._sync_with_backend()
            known = self._replay_result
            later = [known.get_trial(index) for index in known._study_id_to_trial_ids[study_id][len(ended) :]]
            done = list(takewhile(lambda trial: trial.state.is_finished(), later))
            ended += done
        later = later[len(done) :]
        if states is None:
            return [*ended, *later]
        if any(state.is_finished() for state in TrialState if state in states):
            later = [*ended, *later]
        return [trial for trial in later if trial.state in states]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside is written to the disk once, at its end; no other process writes meanwhile.

        Where that fails, it is not known here either: what is in the file, whole, is all there is.
        """
        try:
            with self._file.hold(self._catch_up):
                yield
        except BaseException:  # a full disk, say
            self.__setstate__(self.__getstate__())  # as a copy that was pickled: all is read anew
            self._ended.clear()
            raise

    def _catch_up(self) -> None:
        with self._thread_lock:
            self._sync_with_backend()


class _JournalFile(JournalFileBackend):
    """Lines of a file, and those that are held back while several are written together."""

    def __init__(self, path: Path) -> None:
        self._mutex = _WriteLock(path)
        super().__init__(str(path), lock_obj=cast(Any, self._mutex))
        self._read = 0
        self._held: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if self._held is not None and log_number_from >= self._read:
            yield from self._held[log_number_from - self._read :]
            return
        number = log_number_from
        for log in super().read_logs(log_number_from):
            number += 1
            yield log
        self._read = max(self._read, number)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._held is None:
            super().append_logs(logs)
        else:
            self._held += json.loads(json.dumps(logs))  # as they will be read

    @contextmanager
    def hold(self, catch_up: Callable[[], object]) -> Iterator[None]:
        """Hold back what is appended inside; inside of another, to that one's end.

        Args:
            catch_up: reads what others have written.
        """
        if self._held is not None:
            yield
            return
        self._mutex.acquire()
        try:
            catch_up()
            self._held = []
            try:
                yield
            finally:
                held, self._held = self._held, None
                if held:
                    super().append_logs(held)
                    for _ in super().read_logs(self._read):  # so that where lines end is known again
                        self._read += 1
        finally:
            self._mutex.release()


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
