"""POKER-DVS: the symbols of poker cards, flicked past an event camera and cut out of the recording."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from quietspike.core.errors import DataError
from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.events import Events
from quietspike.datasets.formats.content import Content
from quietspike.datasets.published import PublishedSet
from quietspike.datasets.recordings import read_bytes, read_content
from quietspike.datasets.sources import FileSource, Parts, Source

_FOLDERS = ("cl", "he", "di", "sp")
_MD5 = {"train": "412bcfb96826e4fcb290558e8c150aae", "test": "eef2bf7d0d3defae89a6fa98b07c17af"}
_DOWNLOADED = "POKERDVS"


@dataclass(frozen=True)
class ArchiveSource:
    """One of the two archives; its recordings are ordered by class and file name.

    Args:
        path: of the archive.
        part: which one it is.
    """

    path: Path
    part: Literal["train", "test"]

    @property
    def labels(self) -> Sequence[int]:
        """Twelve recordings of each class to train with, five to test with."""
        of_class = 12 if self.part == "train" else 5
        return [label for label in range(len(_FOLDERS)) for _ in range(of_class)]

    @property
    def identity(self) -> str:
        """Its checksum, that of the published archive."""
        return _MD5[self.part]

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """Recordings out of the archive, which is never unpacked to disk.

        Raises:
            DataError: if it is not the published one, or does not unpack.
        """
        recordings = sorted(self._members(), key=lambda member: member[:2])
        for place in wanted:
            _, name, data = recordings[place]
            yield read_content(Content(f"{self.path}: {name}", data), ".npy").events

    def _members(self) -> Iterator[tuple[int, str, bytes]]:
        digest = hashlib.md5(read_bytes(self.path), usedforsecurity=False).hexdigest()
        if digest != _MD5[self.part]:
            raise DataError(f"{self.path}: not POKER-DVS as published, or damaged: md5 {digest}, not {_MD5[self.part]}")
        try:
            with tarfile.open(self.path, "r:gz") as archive:
                for member in archive:
                    path = PurePosixPath(member.name)
                    content = archive.extractfile(member)
                    if content is not None and path.suffix == ".npy" and path.parent.name in _FOLDERS:
                        yield _FOLDERS.index(path.parent.name), path.name, content.read()
        except (OSError, tarfile.TarError, EOFError) as error:
            raise DataError(f"{self.path}: cannot be unpacked: {error}") from error


def find_recordings(root: Path) -> Parts:
    """The two archives, or what tonic unpacks of them: ``pips_train/cl/*.npy``; at the top or where tonic puts them.

    Raises:
        NoRecordingsError: if a part is there in neither form.
    """
    return {"train": _find_part(root, "train"), "test": _find_part(root, "test")}


def _find_part(root: Path, part: Literal["train", "test"]) -> Sequence[Source]:
    name = f"pips_{part}"
    for folder in (root, root / _DOWNLOADED):
        if (folder / f"{name}.tar.gz").is_file():
            return [ArchiveSource(folder / f"{name}.tar.gz", part)]
        unpacked = [
            FileSource(path, path.relative_to(folder).as_posix(), label)
            for label, suit in enumerate(_FOLDERS)
            for path in sorted((folder / name / suit).glob("*.npy"))
        ]
        if unpacked:
            return unpacked
    raise NoRecordingsError(f"poker_dvs: no {name}.tar.gz in {root} or {root / _DOWNLOADED}")


PokerDVS = PublishedSet(
    name="poker_dvs",
    classes=("clubs", "hearts", "diamonds", "spades"),
    sensor_size=(35, 35, 2),
    citation=(
        "Serrano-Gotarredona, T. and Linares-Barranco, B. (2015). Poker-DVS and MNIST-DVS. Their history, how they "
        "were made, and other details. Frontiers in Neuroscience 9:481. https://doi.org/10.3389/fnins.2015.00481"
    ),
    home="https://github.com/cargonriv/dvs",
    find=find_recordings,
    tonic=("POKERDVS", ({"train": True}, {"train": False})),
    folder=_DOWNLOADED,
    defaults={"validation": 0.25},
)
