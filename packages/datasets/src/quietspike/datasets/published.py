"""Published sets of recordings: what they are, where their recordings lie in a folder, and how they are fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quietspike.core.checks import check_flag
from quietspike.core.errors import DataError, OptionError, unknown_name
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.framed import FramedRecordings, Options, Parts, signature_with_options
from quietspike.datasets.frames import SensorSize
from quietspike.datasets.locks import locked
from quietspike.datasets.sources import FileSource

UNFINISHED = ".unfinished"
"""A file beside recordings whose download did not finish."""


class NoRecordingsError(DataError):
    """A folder that is missing, or that no known layout of recordings is in."""


@dataclass(frozen=True)
class PublishedSet:
    """A published set of recordings, as a plugin: to call it is to open it.

    Args:
        name: in the registry.
        classes: names by index; none where that depends on the recordings, whose classes then are their numbers.
        sensor_size: width, height, polarities.
        citation: whom to cite.
        find: its recordings under a folder; raises ``NoRecordingsError`` where they are not.
        tonic: the name of tonic's class that downloads it, and for each call its arguments; ``None`` where the set has
            to be asked for elsewhere.
        folder: where under ``root`` tonic puts it.
        defaults: options that fit the set.
    """

    name: str
    classes: tuple[str, ...]
    sensor_size: SensorSize
    citation: str
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
        return "root, or download=True" if self.tonic else "root"

    def __call__(self, *, root: str | Path | None = None, download: bool = False, **options: Any) -> FramedRecordings:
        """Open the set in a folder.

        Args:
            root: the folder of the recordings.
            download: fetch the set into ``root`` through tonic if it is not there; checksums are verified.
            options: as ``quietspike.datasets.framed.Options``.

        Raises:
            UnknownNameError: for an option that there is not.
            OptionError: if a value is out of its range, or the set cannot be downloaded.
            DataError: if the recordings are missing; names the folder and what was looked for.
        """
        check_flag(download=download)
        if download and self.tonic is None:
            raise OptionError("download=True: nobody may hand out this set; ask its authors, and give root")
        chosen = Options.of(self.name, self.defaults, options)
        if root is None:
            there = "; with download=True they are put there" if self.tonic else ""
            raise DataError(f"{self.name}: give root, the folder of the recordings{there}")
        parts = self._found(Path(root).expanduser(), download)
        classes = self.classes or tuple(map(str, range(1 + _highest_label(parts))))
        return FramedRecordings(self.name, parts, self.sensor_size, classes, chosen)

    def _found(self, root: Path, download: bool) -> Parts:
        try:
            return self._find(root)
        except NoRecordingsError:
            if not download:
                raise
        self._fetch(root)
        return self._find(root)

    def _find(self, root: Path) -> Parts:
        if not root.is_dir():
            raise NoRecordingsError(f"{self.name}: no folder {root}")
        if self.folder and (root / self.folder / UNFINISHED).exists():
            raise NoRecordingsError(f"{self.name}: a download into {root / self.folder} did not finish")
        return self.find(root)

    def _fetch(self, root: Path) -> None:
        """Let tonic download what is not there whole, one process at a time."""
        try:
            import tonic  # GPL-3.0, so here alone: without a download nothing of it is needed
        except ImportError as error:
            raise DataError(f"{self.name}: download=True needs tonic ({error}); pip install tonic") from error
        assert self.tonic is not None
        kind, calls = self.tonic
        try:
            root.mkdir(parents=True, exist_ok=True)
            with locked(root / f".{self.name}.lock"):
                try:
                    self._find(root)
                    return  # another process fetched it meanwhile
                except NoRecordingsError:
                    pass
                with unfinished(root / self.folder):
                    for arguments in calls:
                        getattr(tonic.datasets, kind)(save_to=str(root), **arguments)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{self.name}: cannot be downloaded into {root}: {error}") from error


def _highest_label(parts: Parts) -> int:
    return max(label for sources in parts.values() for source in sources for label in source.labels)


@contextmanager
def unfinished(folder: Path) -> Iterator[None]:
    """Mark a folder as unfinished until the end of the block; an error or a kill leaves the mark."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / UNFINISHED
    mark.touch()
    yield
    mark.unlink()


def find_in_classes(
    root: Path, folder: Path, classes: tuple[str, ...], suffixes: frozenset[str], layout: Layout | None = None
) -> list[FileSource]:
    """The recordings in a folder with a folder for each class, by class and name.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a folder of recordings that is none of the classes.
    """
    sources = []
    for place in sorted(path for path in folder.glob("*/") if not path.name.startswith(".")):
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in suffixes)
        if not files:
            continue
        if place.name not in classes:
            raise DataError(str(unknown_name(f"{folder}: class", place.name, classes)))
        label = classes.index(place.name)
        sources += [FileSource(path, path.relative_to(root).as_posix(), label, layout) for path in files]
    if not sources:
        looked = ", ".join(f"*{suffix}" for suffix in sorted(suffixes))
        raise NoRecordingsError(f"{folder} holds no folders of classes with {looked}")
    return sorted(sources, key=lambda source: source.label)
