"""Where recordings come from: files, parts of files, and what is generated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from quietspike.core.errors import DataError
from quietspike.datasets.events import Events, inside
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.recordings import read_recording
from quietspike.datasets.splits import Part


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
Parts: TypeAlias = Mapping[Part, Sequence[Source]]
Size: TypeAlias = tuple[int, int]
"""Width and height of a sensor."""


@dataclass(frozen=True)
class FileSource:
    """A file that is one recording.

    Args:
        path: of the file.
        name: of it in its set; a part of the cache's key, where the path is not.
        label: its class.
        layout: where its format asks for one.
        sensor: its set's; that of the file, where that tells another, may not show more.
        is_only: whether the file's sensor may not show less either.
    """

    path: Path
    name: str
    label: int
    layout: Layout | None = None
    sensor: Size | None = None
    is_only: bool = False

    @property
    def labels(self) -> Sequence[int]:
        """Of the one recording."""
        return (self.label,)

    @property
    def identity(self) -> str:
        """Its name, layout, size and time of change."""
        return f"{self.name} {self.layout} {stamp(self.path)}"

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """The recording, as often as it is asked for.

        Raises:
            DataError: if it cannot be read, or is of another sensor than its set's.
        """
        for _ in wanted:
            recording = read_recording(self.path, self.layout)
            if self.sensor is not None:
                self._check_sensor(recording.events, recording.size, self.sensor)
            yield recording.events

    def _check_sensor(self, events: Events, told: Size | None, sensor: Size) -> None:
        """Events off the sensor are dropped: damage has some. Here all would be, or those of a larger sensor."""
        seen = len(inside(events, *sensor))
        is_other = told not in (None, sensor) and (self.is_only or seen < len(events))
        if is_other or (len(events) and not seen):
            said = f"of a sensor of {told[0]}x{told[1]}" if told else "without an event on the sensor"
            raise DataError(f"{self.path}: {said}; the data set's is {sensor[0]}x{sensor[1]} (sensor_size)")


def on_sensor(parts: Parts, sensor: Size, *, is_only: bool = False) -> Parts:
    """The same recordings, of which files that do not fit the sensor are refused when they are read."""

    def fitted(source: Source) -> Source:
        return replace(source, sensor=sensor, is_only=is_only) if isinstance(source, FileSource) else source

    return {part: [fitted(source) for source in sources] for part, sources in parts.items()}


def told_size(name: str, parts: Parts) -> Size:
    """The sensor's size, as the first recording tells it.

    Raises:
        DataError: if it does not, or cannot be read.
    """
    first = next(source for sources in parts.values() for source in sources)
    assert isinstance(first, FileSource)
    size = read_recording(first.path, first.layout).size
    if size is None:
        raise DataError(f"{name}: {first.path} does not tell its sensor's size; give sensor_size, as [128, 128]")
    return size


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
