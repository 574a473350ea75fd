"""Where N-MNIST's recordings lie in a folder: named by list files, or in a folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from quietspike.core.errors import DataError
from quietspike.datasets.files import read_list

CLASSES = 10

_DOWNLOADED = "NMNIST"
_UNFINISHED = ".unfinished"


class NoRecordingsError(DataError):
    """A folder that is missing, or that no known layout of recordings is in."""


class Recording(NamedTuple):
    """A file of events and its class."""

    path: Path
    label: int


def find_recordings(root: Path) -> dict[str, list[Recording]]:
    """The recordings of ``train`` and of ``test`` under a folder.

    Two layouts are known: list files ``train*.txt`` and ``test*.txt`` beside ``N.bs2`` or ``N.bin``; and ``Train`` and
    ``Test``, at the top or in ``NMNIST``, with a folder ``0`` to ``9`` of ``.bin`` files for each class. A download
    into ``NMNIST`` that did not finish is none.

    Raises:
        NoRecordingsError: if neither is there; names the folder and what was looked for.
        DataError: if a list cannot be read, a recording that it names is missing, or one is both to train and to test.
    """
    if not root.is_dir():
        raise NoRecordingsError(f"nmnist: no folder {root}")
    parts = {part: _find_part(root, part) for part in ("train", "test")}
    shared = {recording.path for recording in parts["train"]} & {recording.path for recording in parts["test"]}
    if shared:
        raise DataError(f"nmnist: {min(shared)} is listed both to train and to test with")
    return parts


@contextmanager
def unfinished_download(root: Path) -> Iterator[None]:
    """Mark ``NMNIST`` as unfinished until the end of the block; an error or a kill leaves the mark."""
    mark = root / _DOWNLOADED / _UNFINISHED
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    yield
    mark.unlink()


def fingerprint(root: Path, recordings: Sequence[Recording]) -> str:
    """A digest of names, classes, sizes and times of change, for a cache to see that a file was replaced."""
    digest = hashlib.sha256()
    for path, label in recordings:
        facts = path.stat()
        digest.update(f"{path.relative_to(root)} {label} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _find_part(root: Path, part: str) -> list[Recording]:
    lists = sorted(root.glob(f"{part}*.txt"))
    if len(lists) > 1:
        raise DataError(f"nmnist: {root} holds several lists: {', '.join(path.name for path in lists)}; keep one")
    recordings = _listed(lists[0]) if lists else _in_folders(root, part.capitalize())
    if not recordings:
        folders = f"{part.capitalize()}/0..9/*.bin"
        note = "; a download into NMNIST did not finish" if (root / _DOWNLOADED / _UNFINISHED).exists() else ""
        looked = f"neither a list {part}*.txt nor {folders} nor NMNIST/{folders}"
        raise NoRecordingsError(f"nmnist: {root} holds {looked}{note}")
    return recordings


def _listed(path: Path) -> list[Recording]:
    there = {file.name for file in path.parent.iterdir()}
    recordings = []
    for sample, label in read_list(path, CLASSES):
        name = next((name for name in (f"{sample}.bs2", f"{sample}.bin") if name in there), None)
        if name is None:
            raise DataError(f"{path}: sample {sample}: neither {sample}.bs2 nor {sample}.bin is in {path.parent}")
        recordings.append(Recording(path.parent / name, label))
    return recordings


def _in_folders(root: Path, part: str) -> list[Recording]:
    for folder in (root / part, root / _DOWNLOADED / part):
        if (folder.parent / _UNFINISHED).exists():
            continue
        found = [Recording(path, label) for label in range(CLASSES) for path in sorted(folder.glob(f"{label}/*.bin"))]
        if found:
            return found
    return []
