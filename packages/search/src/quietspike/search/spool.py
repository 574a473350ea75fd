"""What is to be logged, in files of the search's folder: a line for each thing, until the tracking store has it.

Workers write here and never wait for a store; ``sending`` reads here. A run is one file that only grows, written by one
process at a time: by the one that trains and, once that is dead, by the driver. A file's first line begins its run, and
its other lines are in the order in which they came, so that sending them again changes nothing.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from quietspike.core.weights import write_whole
from quietspike.search.journal import cut_unfinished_line

LINES = ".jsonl"
RUN_TAG = "quietspike.run"
"""MLflow's tag with the name of a run's file, by which it is found again."""

SEARCH = "search-"
"""Begins the names of the searches' own runs."""

TAIL = 4096
"""Bytes at a file's end that hold the whole of its last line, if that says that the run has ended."""


@dataclass(frozen=True)
class SpooledRun:
    """The file of one run.

    Args:
        path: of the file.
    """

    path: Path

    @property
    def name(self) -> str:
        """What other runs' files call it."""
        return self.path.stem

    def add(self, kind: str, **entry: Any) -> None:
        """One more line; nothing, if the run was ended for its writer, sent and removed."""
        line = json.dumps({"op": kind, "time": now(), **entry}) + "\n"
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            return
        try:
            size = os.fstat(file).st_size
            if os.write(file, line.encode()) < len(line.encode()):  # the disk is full
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(file)

    def add_file(self, source: Path, folder: str | None) -> None:
        """One more line, for a file as it is now: what replaces or deletes it later does not matter."""
        kept = self.path.parent / "files" / uuid4().hex / source.name
        kept.parent.mkdir(parents=True)
        try:
            os.link(source, kept)  # costs nothing; whoever replaces the file writes another one
        except OSError:
            shutil.copyfile(source, kept)
        self.add("artifact", file=f"{kept.parent.name}/{kept.name}", folder=folder)

    def lines(self, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Whole lines from an offset on, each with the offset behind it."""
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written, or its writer was killed
                    return
                offset += len(line)
                with suppress(ValueError):  # two have written at once, after a worker was taken for dead
                    yield json.loads(line), offset

    @property
    def begin(self) -> Mapping[str, Any]:
        """The first line; empty where its writer was killed before it was whole."""
        return next((entry for entry, _ in self.lines()), {})

    @property
    def lasting(self) -> bool:
        """Whether it is a search's own, which may go on after its end."""
        return self.name.startswith(SEARCH)

    @property
    def ended(self) -> bool:
        """Whether the last line ends the run."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            last = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
        return last.startswith(b'{"op": "end"')

    def take_over(self) -> None:
        """Write on where another process was killed."""
        cut_unfinished_line(self.path)


class Note:
    """What of a run was sent: MLflow's id of it, how many bytes of its file, and whether these end it.

    Args:
        run: whose.
    """

    def __init__(self, run: SpooledRun) -> None:
        self.path = run.path.with_suffix(".sent")
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # a loss of power leaves it empty
            data = {}
        self.run_id: str | None = data.get("run")
        self.offset: int = data.get("offset", 0)
        self.over: bool = data.get("over", False)
        self.begun = self.path.exists()

    def write(self) -> None:
        """Keep it; a loss of power may undo that."""
        temporary = self.path.with_suffix(".new")
        data = {"run": self.run_id, "offset": self.offset, "over": self.over}
        temporary.write_text(json.dumps(data), encoding="utf-8")
        temporary.replace(self.path)

    def forget(self) -> None:
        """Begin anew."""
        self.path.unlink(missing_ok=True)


def is_new(run: SpooledRun) -> bool:
    """Whether anything of a run is still to be sent."""
    with suppress(FileNotFoundError):  # it was sent to its end, and removed
        return next(run.lines(Note(run).offset), None) is not None
    return False


@dataclass(frozen=True)
class Spool:
    """The runs of one search that a tracking store has not, or not altogether.

    Args:
        folder: of their files.
    """

    folder: Path

    def run(self, name: str) -> SpooledRun:
        """One that may not be there."""
        return SpooledRun(self.folder / f"{name}{LINES}")

    def begin(self, name: str, **entry: Any) -> SpooledRun:
        """A new run, whose file appears with its first line."""
        run = self.run(name)
        write_whole(run.path, (json.dumps({"op": "begin", "time": now(), **entry}) + "\n").encode())
        return run

    @property
    def runs(self) -> list[SpooledRun]:
        """All, in the order in which they began, but for those without a whole first line."""
        return [SpooledRun(path) for path in sorted(self.folder.glob(f"[!.]*{LINES}"))]

    @property
    def kept(self) -> list[SpooledRun]:
        """Those that are not, or not altogether, in the store."""
        return [run for run in self.runs if is_new(run)]


def new_name(kind: str) -> str:
    """Of a run; sorts behind those that began earlier."""
    return f"{time.time_ns():020}-{kind}-{uuid4().hex[:8]}"


def now() -> int:
    """Milliseconds, as MLflow counts them."""
    return time.time_ns() // 1_000_000
