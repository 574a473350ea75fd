"""N-MNIST: MNIST's digits, recorded by an event camera that moves in three saccades."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from quietspike.core.checks import check_flag, check_whole
from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, unknown_name
from quietspike.datasets.cache import cached
from quietspike.datasets.files import read_bin
from quietspike.datasets.frames import Framing, SensorSize, frame_all
from quietspike.datasets.loading import FrameArrays
from quietspike.datasets.locks import locked
from quietspike.datasets.nmnist_files import (
    NoRecordingsError,
    Recording,
    find_recordings,
    fingerprint,
    unfinished_download,
)
from quietspike.datasets.splits import HoldOut, limited

_REVISION = 1  # of how recordings become frames: raise it when that changes, or old caches would stay


class NMNIST:
    """N-MNIST from a folder: the whole set, or a part of it that list files name.

    ``root`` holds ``train*.txt`` and ``test*.txt`` (lines of ``sample class``) beside ``N.bs2`` or ``N.bin``; or
    ``Train`` and ``Test``, or ``NMNIST/Train`` and ``NMNIST/Test`` as tonic leaves them, with a folder for each class.

    Args:
        root: the folder of the recordings.
        download: fetch the set into ``root`` through tonic (2 GB) if neither layout is there.
        steps: T, the frames of a sample.
        by: ``time`` for windows of equal time, ``count`` for groups of equally many events.
        window_us: length of a window in µs; left out, the recording is divided into ``steps`` equal ones.
        downscale: coordinates are divided by it.
        binary: mark a pixel with 1 however many events it has in a step; else count them.
        validation: share of the training samples that is held out.
        seed: decides which are held out, and which a limit keeps.
        max_train: train with at most so many samples; the classes keep their shares.
        max_validation: validate with at most so many.
        max_test: test with at most so many.

    Raises:
        OptionError: if a value is out of its range.
    """

    classes: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    sensor_size: SensorSize = (34, 34, 2)
    citation = (
        "Orchard, G., Jayawant, A., Cohen, G. K. and Thakor, N. (2015). Converting static image datasets to spiking "
        "neuromorphic datasets using saccades. Frontiers in Neuroscience 9:437. "
        "https://doi.org/10.3389/fnins.2015.00437"
    )

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        download: bool = False,
        steps: int = 8,
        by: Literal["time", "count"] = "time",
        window_us: int | None = None,
        downscale: int = 1,
        binary: bool = False,
        validation: float = 0.2,
        seed: int = 0,
        max_train: int | None = None,
        max_validation: int | None = None,
        max_test: int | None = None,
    ) -> None:
        check_flag(download=download)
        most = {"max_train": max_train, "max_validation": max_validation, "max_test": max_test}
        check_whole(**{option: count for option, count in most.items() if count is not None})
        self.framing = Framing(steps, by, window_us, downscale, binary)
        self.steps = self.framing.steps
        self.input_shape = self.framing.input_shape(self.sensor_size)
        self._root = None if root is None else Path(root).expanduser()
        self._download = download
        self._division = HoldOut(validation, seed)
        self._most = {"train": max_train, "validation": max_validation, "test": max_test}

    def split(self, name: SplitName) -> FrameArrays:
        """The samples of ``train``, ``validation`` or ``test``; validation is held out of the training recordings.

        Recordings are framed at first use and cached: all of the training or test part, or under a limit the chosen.

        Raises:
            UnknownNameError: if it is none of the three.
            DataError: if the recordings are missing or damaged, or the cache cannot be written.
        """
        if name not in self._most:
            raise unknown_name("nmnist: split", name, self._most)
        root = self._folder()
        recordings = self._found(root)["test" if name == "test" else "train"]
        labels = np.array([recording.label for recording in recordings], dtype=np.int64)
        indices = self._division.indices(labels, name)
        most = self._most[name]
        if most is not None:
            indices = indices[limited(labels[indices], most, self._division.seed)]
            recordings, indices = [recordings[index] for index in indices], np.arange(len(indices))
        arrays = self._cached(root, recordings)
        return FrameArrays(arrays["frames"], arrays["labels"], indices)

    def _cached(self, root: Path, recordings: list[Recording]) -> dict[str, np.ndarray]:
        key = {
            "name": "nmnist",
            "revision": _REVISION,
            "recordings": fingerprint(root, recordings),
            "framing": asdict(self.framing),
        }

        def build() -> dict[str, np.ndarray]:
            events = (read_bin(recording.path) for recording in recordings)
            frames = frame_all(events, len(recordings), self.sensor_size, self.framing)
            return {"frames": frames, "labels": np.array([recording.label for recording in recordings], np.int64)}

        return cached(key, build)

    def _folder(self) -> Path:
        if self._root is None:
            raise DataError("nmnist: give root, the folder of the recordings; with download=True they are put there")
        return self._root

    def _found(self, root: Path) -> dict[str, list[Recording]]:
        try:
            return find_recordings(root)
        except NoRecordingsError:
            if not self._download:
                raise
        _fetch(root)
        return find_recordings(root)


def _fetch(root: Path) -> None:
    """Let tonic download what it does not find whole, one process at a time.

    Raises:
        DataError: if it cannot; names the folder and the reason.
    """
    try:
        import tonic  # GPL-3.0, so here alone: without a download nothing of it is needed
    except ImportError as error:
        raise DataError(f"nmnist: download=True needs tonic ({error}); pip install tonic") from error
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / ".nmnist.lock"):
            if _is_there(root):
                return  # another process fetched it meanwhile
            with unfinished_download(root):
                for train in (True, False):
                    tonic.datasets.NMNIST(save_to=str(root), train=train)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"nmnist: cannot be downloaded into {root}: {error}") from error


def _is_there(root: Path) -> bool:
    try:
        find_recordings(root)
    except NoRecordingsError:
        return False
    return True
