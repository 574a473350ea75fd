"""POKER-DVS: the symbols of poker cards, flicked past an event camera and cut out of the recording."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, unknown_name
from quietspike.datasets.cache import cached
from quietspike.datasets.events import as_events
from quietspike.datasets.frames import Framing, SensorSize, frame_all
from quietspike.datasets.loading import FrameArrays
from quietspike.datasets.splits import HoldOut

_REVISION = 1  # of how recordings become frames: raise it when that changes, or old caches would stay


class PokerDVS:
    """POKER-DVS from the two archives that tonic distributes: 48 training and 20 test recordings of four classes.

    Args:
        root: the folder that holds ``pips_train.tar.gz`` and ``pips_test.tar.gz``; it is only read.
        steps: T, the frames of a sample.
        by: ``time`` for windows of equal time, ``count`` for groups of equally many events.
        window_us: length of a window in µs; left out, the recording is divided into ``steps`` equal ones.
        downscale: coordinates are divided by it.
        binary: mark a pixel with 1 however many events it has in a step; else count them.
        validation: share of the training samples that is held out.
        seed: decides which.

    Raises:
        OptionError: if a value is out of its range.
    """

    classes: tuple[str, ...] = ("clubs", "hearts", "diamonds", "spades")
    sensor_size: SensorSize = (35, 35, 2)
    citation = (
        "Serrano-Gotarredona, T. and Linares-Barranco, B. (2015). Poker-DVS and MNIST-DVS. Their history, how they "
        "were made, and other details. Frontiers in Neuroscience 9:481. https://doi.org/10.3389/fnins.2015.00481"
    )

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        steps: int = 8,
        by: Literal["time", "count"] = "time",
        window_us: int | None = None,
        downscale: int = 1,
        binary: bool = False,
        validation: float = 0.25,
        seed: int = 0,
    ) -> None:
        self.framing = Framing(steps, by, window_us, downscale, binary)
        self.steps = self.framing.steps
        self.input_shape = self.framing.input_shape(self.sensor_size)
        self._root = None if root is None else Path(root).expanduser()
        self._division = HoldOut(validation, seed)

    def split(self, name: SplitName) -> FrameArrays:
        """The samples of ``train``, ``validation`` or ``test``; validation is held out of the training archive.

        Raises:
            UnknownNameError: if it is none of the three.
            DataError: if an archive is missing or not the one that was published, or the cache cannot be written.
        """
        if name not in ("train", "validation", "test"):
            raise unknown_name("poker_dvs: split", name, ("train", "validation", "test"))
        arrays = self._cached("test" if name == "test" else "train")
        labels = arrays["labels"]
        return FrameArrays(arrays["frames"], labels, self._division.indices(labels, name))

    def _cached(self, part: Literal["train", "test"]) -> dict[str, np.ndarray]:
        archive = self._archive(part)
        digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
        key = {"name": f"poker_dvs-{part}", "revision": _REVISION, "archive": digest, "framing": asdict(self.framing)}

        def build() -> dict[str, np.ndarray]:
            samples = _read_archive(archive, digest, part)
            frames = frame_all((events for events, _ in samples), len(samples), self.sensor_size, self.framing)
            return {"frames": frames, "labels": np.array([label for _, label in samples], dtype=np.int64)}

        return cached(key, build)

    def _archive(self, part: str) -> Path:
        name = f"pips_{part}.tar.gz"
        if self._root is None:
            raise DataError(f"poker_dvs: give root, the folder that holds {name}")
        if not (self._root / name).is_file():
            raise DataError(f"poker_dvs: no {name} in {self._root}")
        return self._root / name


def _read_archive(archive: Path, digest: str, part: Literal["train", "test"]) -> list[tuple[np.ndarray, int]]:
    """Unpack into a temporary folder laid out as tonic wants it, and let tonic read.

    Raises:
        DataError: if the archive is not the published one, or does not unpack.
    """
    try:
        from tonic.datasets import POKERDVS  # GPL-3.0, so imported here alone
    except ImportError as error:
        raise DataError(f"poker_dvs: needs tonic ({error}); pip install tonic") from error
    expected = POKERDVS.train_md5 if part == "train" else POKERDVS.test_md5
    if digest != expected:
        raise DataError(f"{archive}: not POKER-DVS as published, or damaged: md5 {digest}, not {expected}")
    with tempfile.TemporaryDirectory(prefix="poker-dvs-") as temporary:
        folder = Path(temporary, "POKERDVS")
        folder.mkdir()
        (folder / archive.name).touch()  # tonic asks for the archive too, and does not look into it
        try:
            _unpack(archive, folder)
            read = POKERDVS(save_to=temporary, train=part == "train")
            samples = [(as_events(events), int(label)) for events, label in read]
        except (OSError, tarfile.TarError, ValueError, KeyError) as error:
            raise DataError(f"{archive}: cannot be unpacked and read: {error}") from error
    # tonic walks the class folders in the file system's order, which differs between machines.
    return sorted(samples, key=lambda sample: sample[1])


def _unpack(archive: Path, folder: Path) -> None:
    """Write an archive's files; by hand, since Python has ``extractall(filter="data")`` from 3.11.4 only.

    Raises:
        ValueError: for a link or a device, or a path out of the folder.
    """
    with tarfile.open(archive) as packed:
        for member in packed:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                raise ValueError(f"{member.name!r} is no file or folder inside of it")
            content = packed.extractfile(member)
            if content is not None:  # a folder has none, and is made for what lies in it
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                with content, (folder / path).open("xb") as file:
                    shutil.copyfileobj(content, file)
