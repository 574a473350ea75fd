"""The driver's messenger: takes what lies in the spool to MLflow's store, at once or when the store is there again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from quietspike.search.replaying import Replay
from quietspike.search.spool import Note, Spool, SpooledRun, is_new
from quietspike.search.store import Group, RefusedError, TrackingError, find_group, is_active, opening

PERIOD = 0.5
"""Seconds between two looks at the spool."""

BACKOFF = (2.0, 60.0)
"""Seconds between the first two tries to reach a store that is away, and at most."""

TURN = 60.0
"""Seconds to wait for another process that sends from the same spool."""


class Sender:
    """Sends from one spool to one store; of several processes one at a time.

    Args:
        spool: what is to be sent.
        group: MLflow's group of runs, with its store.
        say: told in one line what the store refuses.
    """

    def __init__(self, spool: Spool, group: Group, say: Callable[[str], None] = lambda line: None) -> None:
        self.spool = spool
        self.group = group
        self.say = say
        self._group_id: str | None = None
        self._refused: set[str] = set()

    def connect(self) -> str:
        """MLflow's id of the group, which is made if it is not there.

        Raises:
            AwayError: if the store does not answer now.
            TrackingError: if it never will.
        """
        if self._group_id is None:
            with opening(self.group.uri) as client:
                self._group_id = find_group(client, self.group)
        return self._group_id

    def send(self, wait: float = 0.0) -> None:
        """Send all that there is, unless another process does.

        Args:
            wait: seconds for that one to have done.

        Raises:
            TrackingError: if the store does not take it now; it is kept.
        """
        if not self.spool.folder.exists():
            return
        try:
            with FileLock(self.spool.folder / "sender.lock", timeout=wait):
                for run in self.spool.runs:
                    if run.name not in self._refused and is_new(run):
                        self._send(run)
                    note = Note(run)
                    if note.over and not run.lasting:
                        run.path.unlink(missing_ok=True)  # the store has it altogether
                        note.forget()
        except Timeout:
            return

    def check(self, run: SpooledRun) -> None:
        """Look for the store, and have a run sent from its beginning if it does not have it any more.

        Raises:
            AwayError: if the store does not answer now.
            TrackingError: if it never will.
        """
        self.connect()
        note = Note(run)
        if note.run_id is not None:
            with opening(self.group.uri) as client:
                if not is_active(client, note.run_id):
                    note.forget()

    def _send(self, run: SpooledRun) -> None:
        try:
            self._replay(run)
        except RefusedError as error:
            self._group_id = None  # the store may be a new one, or somebody have deleted the run, or the whole group
            self.connect()
            try:
                if not error.gone:
                    raise
                if run.begin["parent"] is not None:
                    self.check(self.spool.run(run.begin["parent"]))
                Note(run).forget()
                self._replay(run)
            except RefusedError as final:
                self._refused.add(run.name)
                self.say(f"{final}; the store has refused a run, which is kept in {run.path}")

    def _replay(self, run: SpooledRun) -> None:
        group = self.connect()
        with opening(self.group.uri) as client:
            Replay(client, group, self.spool, run).send()


@contextmanager
def sending(sender: Sender) -> Iterator[None]:
    """A thread sends what comes meanwhile; at the end all is sent that can be.

    A store that is away keeps nobody waiting: one line says so, and where everything is kept.
    """
    stop = threading.Event()
    messenger = _Messenger(sender)
    thread = threading.Thread(target=messenger.work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        messenger.finish()


def send_kept(sender: Sender) -> None:
    """Send all that there is, after whoever does so now; where the store is away, say so."""
    try:
        sender.send(TURN)
    except (TrackingError, OSError) as error:
        kept = len(sender.spool.kept)
        sender.say(f"{error}; {kept} runs are kept in {sender.spool.folder}, and quietspike report sends them")


class _Messenger:
    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._away = False

    def work(self, stop: threading.Event) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # they are the main thread's
        pause = PERIOD
        while not stop.wait(pause):
            try:
                self._sender.send()
            except (TrackingError, OSError) as error:  # the store is away, or the disk is full
                pause = min(2 * pause, BACKOFF[1]) if self._away else BACKOFF[0]
                self._say_once(error)
            else:
                pause = PERIOD
                if self._away:
                    self._away = False
                    self._sender.say(f"tracking.uri: {self._sender.group.uri}: it answers again, and has what was kept")

    def finish(self) -> None:
        """One last try, for which other processes are waited for."""
        send_kept(self._sender)

    def _say_once(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            self._sender.say(f"{error}; what is to be logged is kept in {self._sender.spool.folder} and sent later")
