"""DVS128 Gesture: 29 people make eleven gestures in front of a DVS128 under three lights."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quietspike.core.errors import DataError
from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.events import Events, slice_by_time, sort_by_time
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.published import PublishedSet
from quietspike.datasets.recordings import read_recording
from quietspike.datasets.sources import FileSource, Parts, stamp

_CLASSES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
_DOWNLOADED = "DVSGesture"
_TONIC = Layout("xypt", unit_us=1000)
_ORIGINAL = "DvsGesture"


@dataclass(frozen=True)
class TrialSource:
    """A trial as it was recorded: one file with all gestures, and a table of when each begins and ends.

    Args:
        path: of the ``.aedat`` file.
        labels: class of each gesture.
        spans: its start and end in µs.
    """

    path: Path
    labels: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def identity(self) -> str:
        """Name, size, time of change and the table."""
        return f"{self.path.name} {stamp(self.path)} {self.spans}"

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """Gestures cut out of the trial.

        Raises:
            DataError: if the file is damaged, or holds no event of a gesture.
        """
        events = sort_by_time(read_recording(self.path).events)
        for place in wanted:
            cut = slice_by_time(events, *self.spans[place])
            if not len(cut):
                raise DataError(f"{self.path}: no event from {self.spans[place][0]} to {self.spans[place][1]} µs")
            yield cut


def find_recordings(root: Path) -> Parts:
    """The recordings to train and to test with, of other people.

    Two layouts are known. As published: ``trials_to_train.txt`` and ``trials_to_test.txt`` beside ``*.aedat`` and
    ``*_labels.csv``, at the top or in ``DvsGesture``. As tonic distributes them, in milliseconds:
    ``ibmGestureTrain`` and ``ibmGestureTest``, at the top or in ``DVSGesture``.

    Raises:
        NoRecordingsError: if neither is there.
        DataError: if a table cannot be read, or a file that it names is missing.
    """
    for folder in (root, root / _ORIGINAL):
        if (folder / "trials_to_train.txt").is_file():
            return {"train": _trials(folder, "train"), "test": _trials(folder, "test")}
    for folder in (root, root / _DOWNLOADED):
        parts = {part: _cut(folder / f"ibmGesture{part.capitalize()}") for part in ("train", "test")}
        if all(parts.values()):
            return {"train": parts["train"], "test": parts["test"]}
    raise NoRecordingsError(
        f"dvs_gesture: {root} holds neither trials_to_train.txt nor ibmGestureTrain and ibmGestureTest"
    )


def _trials(folder: Path, part: Literal["train", "test"]) -> list[TrialSource]:
    table = folder / f"trials_to_{part}.txt"
    try:
        names = [line.strip() for line in table.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: cannot be read: {error}") from error
    if not names:
        raise DataError(f"{table}: names no recording")
    wrong = next((name for name in names if Path(name).name != name), None)
    if wrong is not None:
        raise DataError(f"{table}: {wrong[:40]!r} is not the name of a file beside it")
    return [_trial(folder / name) for name in names]


def _trial(path: Path) -> TrialSource:
    table = path.with_name(f"{path.stem}_labels.csv")
    labels, spans = [], []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                label, start, end = (int(row[key]) for key in ("class", "startTime_usec", "endTime_usec"))
                if not 1 <= label <= len(_CLASSES) or start >= end:
                    raise ValueError(f"line {number}: class {label} from {start} to {end} µs")
                labels.append(label - 1)
                spans.append((start, end))
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table of gestures: {error}") from error
    if not labels:
        raise DataError(f"{table}: names no gesture")
    if not path.is_file():
        raise DataError(f"{table}: its recording {path.name} is not there")
    return TrialSource(path, tuple(labels), tuple(spans))


def _cut(folder: Path) -> list[FileSource]:
    """``userNN_light/K.npy``, K being the class."""
    paths = [path for path in sorted(folder.glob("*/*.npy")) if path.stem.isdecimal()]
    wrong = next((path for path in paths if int(path.stem) >= len(_CLASSES)), None)
    if wrong is not None:
        raise DataError(f"{wrong}: class {wrong.stem} is not one of 0 to {len(_CLASSES) - 1}")
    return [FileSource(path, path.relative_to(folder).as_posix(), int(path.stem), _TONIC) for path in paths]


DVSGesture = PublishedSet(
    name="dvs_gesture",
    classes=_CLASSES,
    sensor_size=(128, 128, 2),
    citation=(
        "Amir, A. et al. (2017). A low power, fully event-based gesture recognition system. IEEE Conference on "
        "Computer Vision and Pattern Recognition, 7388-7397. https://doi.org/10.1109/CVPR.2017.781"
    ),
    home="https://research.ibm.com/interactive/dvsgesture/",
    find=find_recordings,
    tonic=("DVSGesture", ({"train": True}, {"train": False})),
    folder=_DOWNLOADED,
    defaults={"steps": 60, "window_us": 15_000, "downscale": 4, "start": "random", "clips": 10},
)
