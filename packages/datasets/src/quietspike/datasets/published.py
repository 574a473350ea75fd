"""Published sets of recordings: what they are, where their recordings lie in a folder, and how they are fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quietspike.core.checks import check_flag
from quietspike.core.errors import DataError, OptionError
from quietspike.datasets.class_folders import NoRecordingsError, as_path, find_files, open_root
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.framed import FramedRecordings
from quietspike.datasets.frames import SensorSize
from quietspike.datasets.locks import locked
from quietspike.datasets.options import Options, signature_with_options
from quietspike.datasets.sources import FileSource, Parts, on_sensor, told_size


@dataclass(frozen=True)
class PublishedSet:
    """A published set of recordings, as a plugin: to call it is to open it.

    Args:
        name: in the registry.
        classes: names by index; none where that depends on the recordings, whose classes then are their numbers.
        sensor_size: width, height, polarities; ``None`` where the first recording tells.
        citation: whom to cite.
        home: where its authors hand it out.
        find: its recordings under a folder; raises ``NoRecordingsError`` where they are not.
        tonic: the name of tonic's class that downloads it, and for each call its arguments; ``None`` where it is not
            downloaded here.
        folder: where under ``root`` tonic puts it.
        defaults: options that fit the set.
    """

    name: str
    classes: tuple[str, ...]
    sensor_size: SensorSize | None
    citation: str
    home: str
    find: Callable[[Path], Parts]
    tonic: tuple[str, tuple[Mapping[str, Any], ...]] | None = None
    folder: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spelled = signature_with_options(self.__call__, self.defaults)
        object.__setattr__(self, "__signature__", spelled)  # what inspect.signature gives, of this set

    @property
    def origin(self) -> str:
        """How one gets it."""
        return "your folder, or a download" if self.tonic else "your folder"

    def __call__(self, *, root: str | Path | None = None, download: bool = False, **options: Any) -> FramedRecordings:
        """Open the set in a folder.

        Args:
            root: the folder of the recordings.
            download: fetch the set into ``root`` through tonic if it is not there; checksums are verified.
            options: as ``quietspike.datasets.options.Options``.

        Raises:
            UnknownNameError: for an option that there is not.
            OptionError: if a value is out of its range, or the set cannot be downloaded.
            DataError: if the recordings are missing; names the folder and what was looked for.
        """
        check_flag(download=download)
        if download and self.tonic is None:
            raise OptionError(f"download=True: {self.name} is not fetched here; get it from {self.home}, and give root")
        chosen = Options.of(self.name, self.defaults, options)
        if download and root is not None:
            self._fetch(as_path(root))
        there = "; with download=True they are put there" if self.tonic else f"; it is handed out at {self.home}"
        parts = self._find(open_root(self.name, root, f"the folder of the recordings{there}"))
        classes = self.classes or tuple(map(str, range(1 + _highest_label(parts))))
        width, height = self.sensor_size[:2] if self.sensor_size else told_size(self.name, parts)
        parts = on_sensor(parts, (width, height), is_only=self.sensor_size is None)
        return FramedRecordings(self.name, parts, (width, height, 2), classes, chosen)

    def _find(self, root: Path) -> Parts:
        parts = self.find(root)
        _refuse_repeated(self.name, parts)
        return parts

    def _is_there(self, root: Path) -> bool:
        try:
            return root.is_dir() and bool(self._find(root))
        except NoRecordingsError:
            return False

    def _fetch(self, root: Path) -> None:
        """Let tonic download what is not there, one process at a time, and put it there when it is whole."""
        if self._is_there(root):
            return
        try:
            import tonic  # GPL-3.0, so here alone: without a download nothing of it is needed
        except ImportError as error:
            raise DataError(f"{self.name}: download=True needs tonic ({error}); pip install tonic") from error
        assert self.tonic is not None
        kind, calls = self.tonic
        unfinished = root / f".{self.name}.unfinished"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / f".{self.name}.lock"):
                if self._is_there(root):
                    return  # another process fetched it meanwhile
                if (root / self.folder).exists():
                    raise DataError(f"{self.name}: {root / self.folder} is in a download's way, and is no such set")
                _remove_unpacked(unfinished / self.folder)
                for arguments in calls:
                    getattr(tonic.datasets, kind)(save_to=str(unfinished), **arguments)
                (unfinished / self.folder).rename(root / self.folder)
                unfinished.rmdir()
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            where = f"it is handed out at {self.home}, too"
            raise DataError(f"{self.name}: cannot be downloaded into {root}: {error}; {where}") from error


def _remove_unpacked(folder: Path) -> None:
    """What a download left that did not finish: tonic keeps whole archives, and would take half of their content."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)


def _refuse_repeated(name: str, parts: Parts) -> None:
    """Refuse a recording that lists name twice, and above all one to train and to test with."""
    seen: dict[Path, str] = {}
    for part, sources in parts.items():
        for source in sources:
            path = getattr(source, "path", None)
            if path in seen:
                also = f"both for {seen[path]} and for {part}" if seen[path] != part else "twice"
                raise DataError(f"{name}: {path} is listed {also}")
            if path is not None:
                seen[path] = part


def _highest_label(parts: Parts) -> int:
    return max(label for sources in parts.values() for source in sources for label in source.labels)


def find_in_classes(
    root: Path, folder: Path, classes: tuple[str, ...], suffixes: frozenset[str], layout: Layout | None = None
) -> list[FileSource]:
    """The recordings in a folder with a folder for each class, by class and name; named from ``root`` on.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a class without any, and for a folder of recordings that is none of the classes.
    """
    found = find_files(folder, classes, suffixes)
    return [FileSource(path, path.relative_to(root).as_posix(), label, layout) for path, label in found]
