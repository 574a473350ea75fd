"""DVS128 Gait: people who walk past a DVS128, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from quietspike.core.errors import DataError
from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.events import Events
from quietspike.datasets.formats.arrays import load
from quietspike.datasets.formats.columns import Layout, from_table
from quietspike.datasets.formats.content import Content
from quietspike.datasets.published import PublishedSet
from quietspike.datasets.recordings import read_bytes
from quietspike.datasets.sources import FileSource, Parts, Source, stamp

_LAYOUT = Layout("txyp")
_CITATION = (
    "Wang, Y. et al. (2019). EV-Gait: event-based robust gait recognition using dynamic vision sensors. IEEE/CVF "
    "Conference on Computer Vision and Pattern Recognition, 6351-6360. https://doi.org/10.1109/CVPR.2019.00652. Wang, "
    "Y. et al. (2021). Event-stream representation for human gaits identification using deep neural networks. IEEE "
    "TPAMI. https://doi.org/10.1109/TPAMI.2021.3054886"
)


@dataclass(frozen=True)
class ArraysSource:
    """All recordings of a part in one ``.npy`` of arrays [N, 4].

    Args:
        path: of the file.
        labels: class of each recording.
    """

    path: Path
    labels: tuple[int, ...]

    @property
    def identity(self) -> str:
        """Name, size and time of change."""
        return f"{self.path.name} {stamp(self.path)}"

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """Recordings of the file, which is loaded as a whole; through the restricted unpickler.

        Raises:
            DataError: if the file is damaged, or holds not as many recordings as there are classes given.
        """
        arrays = load(Content(str(self.path), read_bytes(self.path)))
        if len(arrays) != len(self.labels):
            raise DataError(f"{self.path}: holds {len(arrays)} recordings, and {len(self.labels)} classes are given")
        for place in wanted:
            yield from_table(f"{self.path}: recording {place}", arrays[place], _LAYOUT).events


def find_recordings(root: Path, name: str) -> Parts:
    """The recordings of ``train`` and ``test``, as they are distributed.

    As text: ``train/PERSON/*.txt``, lines of time, x, y and polarity. As arrays: ``train/train_data.npy`` and
    ``train/train_target.npy``, at the top or in ``npy``.

    Raises:
        NoRecordingsError: if neither is there.
        DataError: if a folder is no person's number, or the classes cannot be read.
    """
    for folder in (root, root / "npy"):
        if (folder / "train" / "train_data.npy").is_file():
            return {"train": _arrays(folder, "train"), "test": _arrays(folder, "test")}
    train, test = _texts(root, "train"), _texts(root, "test")
    if not train or not test:
        raise NoRecordingsError(
            f"{name}: {root} holds neither train/train_data.npy nor train/PERSON/*.txt and test/PERSON/*.txt"
        )
    return {"train": train, "test": test}


def _arrays(folder: Path, part: Literal["train", "test"]) -> list[Source]:
    path = folder / part / f"{part}_target.npy"
    targets = load(Content(str(path), read_bytes(path)))
    if not isinstance(targets, np.ndarray) or targets.ndim != 1 or targets.dtype.kind not in "ui":
        raise DataError(f"{path}: not a class a recording")
    if len(targets) and not 0 <= targets.min() <= targets.max() < 1000:
        raise DataError(f"{path}: classes from {targets.min()} to {targets.max()}")
    return [ArraysSource(folder / part / f"{part}_data.npy", tuple(int(target) for target in targets))]


def _texts(root: Path, part: Literal["train", "test"]) -> list[Source]:
    sources: list[FileSource] = []
    for folder in (root / part).glob("*/"):
        paths = sorted(folder.glob("*.txt"))
        if paths and not folder.name.isdecimal():
            raise DataError(f"{folder}: a person's folder is named by a number")
        sources += [FileSource(path, path.relative_to(root).as_posix(), int(folder.name), _LAYOUT) for path in paths]
    return [*sorted(sources, key=_order)]


def _order(source: FileSource) -> tuple[int, str]:
    return source.label, source.name


def _gait(name: str) -> PublishedSet:
    return PublishedSet(
        name=name,
        classes=(),  # 20 or 21 people, depending on who hands it out
        sensor_size=(128, 128, 2),
        citation=_CITATION,
        home="https://github.com/zhangxiann/TPAMI_Gait_Identification",
        find=partial(find_recordings, name=name),
        defaults={"steps": 60, "window_us": 15_000, "downscale": 4, "start": "random", "clips": 10},
    )


DVS128GaitDay = _gait("dvs128_gait_day")
DVS128GaitNight = _gait("dvs128_gait_night")
