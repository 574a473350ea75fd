"""Where N-MNIST's recordings lie in a folder: named by list files, or in a folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from quietspike.core.errors import DataError
from quietspike.datasets.files import read_list

CLASSES = 10


class Recording(NamedTuple):
    """A file of events and its class."""

    path: Path
    label: int


def find_recordings(root: Path, part: str) -> list[Recording]:
    """The recordings of ``train`` or ``test`` under a folder.

    Two layouts are known: list files ``train*.txt`` and ``test*.txt`` beside ``N.bs2`` or ``N.bin``; and ``Train`` and
    ``Test``, at the top or in ``NMNIST``, with a folder ``0`` to ``9`` of ``.bin`` files for each class.

    Raises:
        DataError: if neither is there, or a recording that is named is not; names the folder and what was looked for.
    """
    if not root.is_dir():
        raise DataError(f"nmnist: no folder {root}")
    lists = sorted(root.glob(f"{part}*.txt"))
    if len(lists) > 1:
        raise DataError(f"nmnist: {root} holds several lists: {', '.join(path.name for path in lists)}; keep one")
    recordings = _listed(lists[0]) if lists else _in_folders(root, part.capitalize())
    if not recordings:
        folders = f"{part.capitalize()}/0..9/*.bin"
        raise DataError(f"nmnist: {root} holds neither a list {part}*.txt nor {folders} nor NMNIST/{folders}")
    return recordings


def fingerprint(root: Path, recordings: Sequence[Recording]) -> str:
    """A digest of names, classes, sizes and times of change, for a cache to see that a file was replaced."""
    digest = hashlib.sha256()
    for path, label in recordings:
        facts = path.stat()
        digest.update(f"{path.relative_to(root)} {label} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


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
    for folder in (root / part, root / "NMNIST" / part):
        found = [Recording(path, label) for label in range(CLASSES) for path in sorted(folder.glob(f"{label}/*.bin"))]
        if found:
            return found
    return []
