"""Where recordings come from: files, parts of files, and what is generated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from quietspike.core.errors import DataError
from quietspike.datasets.events import Events
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.recordings import read_recording


class Source(Protocol):
    """One or several recordings that are read together."""

    @property
    def labels(self) -> Sequence[int]:
        """The class of each."""
        ...

    @property
    def identity(self) -> str:
        """What changes when the recordings do."""
        ...

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """Some of its recordings, in the order asked for.

        Raises:
            DataError: if one cannot be read.
        """
        ...


class Item(NamedTuple):
    """One recording of a source."""

    source: Source
    place: int


Items: TypeAlias = list[Item]


@dataclass(frozen=True)
class FileSource:
    """A file that is one recording.

    Args:
        path: of the file.
        name: of it in its set; a part of the cache's key, where the path is not.
        label: its class.
        layout: where its format asks for one.
    """

    path: Path
    name: str
    label: int
    layout: Layout | None = None

    @property
    def labels(self) -> Sequence[int]:
        """Of the one recording."""
        return (self.label,)

    @property
    def identity(self) -> str:
        """Its name, layout, size and time of change."""
        return f"{self.name} {self.layout} {stamp(self.path)}"

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """The recording, as often as it is asked for."""
        for _ in wanted:
            yield read_recording(self.path, self.layout).events


def stamp(path: Path) -> str:
    """A file's size and time of change, for a cache to see that it was replaced.

    Raises:
        DataError: if the file is not there, or may not be looked at.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return f"{facts.st_size} {facts.st_mtime_ns}"


def items_of(sources: Sequence[Source]) -> Items:
    """Every recording of some sources."""
    return [Item(source, place) for source in sources for place in range(len(source.labels))]


def labels_of(items: Items) -> list[int]:
    """The class of each recording."""
    return [item.source.labels[item.place] for item in items]


def group_by_source(items: Items) -> list[tuple[Source, list[int]]]:
    """Neighbours of one source together, so that it is read once."""
    groups: list[tuple[Source, list[int]]] = []
    for source, place in items:
        if not groups or groups[-1][0] is not source:
            groups.append((source, []))
        groups[-1][1].append(place)
    return groups


def read_items(items: Items) -> Iterator[Events]:
    """The recordings, one after the other.

    Raises:
        DataError: if one cannot be read.
    """
    for source, places in group_by_source(items):
        yield from source.read(places)


def fingerprint(items: Items) -> str:
    """A digest of what the recordings are."""
    digest = hashlib.sha256()
    for source, places in group_by_source(items):
        whole = "all" if places == [*range(len(source.labels))] else repr(places)
        digest.update(f"{source.identity} {[source.labels[place] for place in places]} {whole}\n".encode())
    return digest.hexdigest()
