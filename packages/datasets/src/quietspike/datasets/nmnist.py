"""N-MNIST: MNIST's digits, recorded by an event camera that moves in three saccades."""

from __future__ import annotations

from pathlib import Path

from quietspike.core.errors import DataError
from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.lists import read_list
from quietspike.datasets.published import PublishedSet
from quietspike.datasets.sources import FileSource, Parts

_CLASSES = tuple("0123456789")
_DOWNLOADED = "NMNIST"


def find_recordings(root: Path) -> Parts:
    """The recordings of ``train`` and of ``test`` under a folder.

    Two layouts are known: list files ``train*.txt`` and ``test*.txt`` beside ``N.bs2`` or ``N.bin``; and ``Train`` and
    ``Test``, at the top or in ``NMNIST``, with a folder ``0`` to ``9`` of ``.bin`` files for each class.

    Raises:
        NoRecordingsError: if neither is there; names the folder and what was looked for.
        DataError: if a list cannot be read, or a recording that it names is missing.
    """
    return {"train": _find_part(root, "train"), "test": _find_part(root, "test")}


def _find_part(root: Path, part: str) -> list[FileSource]:
    lists = sorted(root.glob(f"{part}*.txt"))
    if len(lists) > 1:
        raise DataError(f"nmnist: {root} holds several lists: {', '.join(path.name for path in lists)}; keep one")
    recordings = _listed(lists[0]) if lists else _in_folders(root, part.capitalize())
    if not recordings:
        folders = f"{part.capitalize()}/0..9/*.bin"
        looked = f"neither a list {part}*.txt nor {folders} nor {_DOWNLOADED}/{folders}"
        raise NoRecordingsError(f"nmnist: {root} holds {looked}")
    return recordings


def _listed(path: Path) -> list[FileSource]:
    there = {file.name for file in path.parent.iterdir()}
    sources = []
    for sample, label in read_list(path, len(_CLASSES)):
        name = next((name for name in (f"{sample}.bs2", f"{sample}.bin") if name in there), None)
        if name is None:
            raise DataError(f"{path}: sample {sample}: neither {sample}.bs2 nor {sample}.bin is in {path.parent}")
        sources.append(FileSource(path.parent / name, name, label))
    return sources


def _in_folders(root: Path, part: str) -> list[FileSource]:
    for folder in (root / part, root / _DOWNLOADED / part):
        found = [
            FileSource(path, path.relative_to(folder).as_posix(), label)
            for label in range(len(_CLASSES))
            for path in sorted(folder.glob(f"{label}/*.bin"))
        ]
        if found:
            return found
    return []


NMNIST = PublishedSet(
    name="nmnist",
    classes=_CLASSES,
    sensor_size=(34, 34, 2),
    citation=(
        "Orchard, G., Jayawant, A., Cohen, G. K. and Thakor, N. (2015). Converting static image datasets to spiking "
        "neuromorphic datasets using saccades. Frontiers in Neuroscience 9:437. "
        "https://doi.org/10.3389/fnins.2015.00437"
    ),
    home="https://www.garrickorchard.com/datasets/n-mnist",
    find=find_recordings,
    tonic=("NMNIST", ({"train": True}, {"train": False})),
    folder=_DOWNLOADED,
)
