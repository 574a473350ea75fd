"""Folders with a folder of files for each class, perhaps in folders of parts; what is hidden there is not looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from quietspike.core.errors import DataError, OptionError, unknown_name
from quietspike.datasets.splits import Part

_TRAIN, _TEST, _VALIDATION = "train", "test", ("validation", "valid", "val")


class NoRecordingsError(DataError):
    """A folder that is missing, or that no known layout of recordings is in."""


def open_root(name: str, root: object, wanted: str) -> Path:
    """The folder that the option ``root`` of a data set names.

    Raises:
        DataError: if it is left out, or there is no such folder.
        OptionError: if it is no path, as the number that ``--root 2024`` gives.
    """
    if root is None:
        raise DataError(f"{name}: give root, {wanted}")
    folder = as_path(root)
    if not folder.is_dir():
        raise NoRecordingsError(f"{name}: no folder {folder}")
    return folder


def as_path(root: object) -> Path:
    """The option ``root``, with ``~`` for one's own folder.

    Raises:
        OptionError: if it is no path.
    """
    if not isinstance(root, str | Path):
        raise OptionError(f"root={root!r}: must be a folder's path, as './{root}' is")
    return Path(root).expanduser()


def find_parts(folder: Path) -> dict[Part, Path]:
    """Where the parts of a set lie: folders ``train``, ``test`` and perhaps ``validation``, or else all in one.

    ``val`` and ``valid`` are other names of ``validation``; beside ``train`` alone ``val`` is to test with, as
    ImageNet's is, whose test images have no classes.

    Raises:
        DataError: if only some of the parts are there, which then would be taken for classes.
    """
    there = [path.name for path in folders_in(folder) if folders_in(path)]
    named = [name for name in (_TRAIN, _TEST, *_VALIDATION) if name in there]
    held = [name for name in _VALIDATION if name in named]
    if not named:
        return {"all": folder}
    if len(held) > 1:
        raise DataError(f"{folder} holds {' and '.join(held)}, which are names of one part; keep one")
    if set(named) == {_TRAIN, "val"}:
        return {"train": folder / _TRAIN, "test": folder / "val"}
    for name in (_TRAIN, _TEST):
        if name not in named:
            raise DataError(f"{folder} holds {' and '.join(named)} with folders of classes, but no such {name}")
    parts: dict[Part, Path] = {"train": folder / _TRAIN, "test": folder / _TEST}
    return {**parts, "validation": folder / held[0]} if held else parts


def find_classes(folders: Iterable[Path]) -> tuple[str, ...]:
    """The names of all classes, in order."""
    return tuple(sorted({path.name for folder in folders for path in folders_in(folder)}))


def find_files(folder: Path, classes: tuple[str, ...], suffixes: Collection[str]) -> list[tuple[Path, int]]:
    """The files of each class and its index, by class and name.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a class without any, and for a folder of such files that is none of the classes.
    """
    looked = ", ".join(f"*{suffix}" for suffix in sorted(suffixes))
    found = []
    for place in folders_in(folder):
        files = files_in(place, suffixes)
        if place.name in classes:
            if not files:
                raise DataError(f"{place}: a class without a file that can be read; looked for {looked}")
            found += [(path, classes.index(place.name)) for path in files]
        elif files:
            raise DataError(str(unknown_name(f"{folder}: class", place.name, classes)))
    if not found:
        raise NoRecordingsError(f"{folder} holds no folders of classes with {looked}")
    return sorted(found, key=lambda entry: entry[1])


def folders_in(folder: Path) -> list[Path]:
    """By name, and no hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Of such suffixes, by name; links to nothing, too, which are to be named when they are read.

    No hidden ones, such as another system's ``._0.npy``, and no pipes, which one could wait at for ever.
    """
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and (path.is_file() or not path.exists())
    )
