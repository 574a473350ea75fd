"""HAR-DVS: 300 human activities, recorded by a DAVIS346."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from quietspike.core.errors import DataError
from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.published import PublishedSet
from quietspike.datasets.sources import FileSource, Parts

_CLASSES = tuple(f"action_{number:03}" for number in range(1, 301))
_NAMES: dict[Literal["train", "validation", "test"], str] = {"train": "train", "validation": "val", "test": "test"}


def find_recordings(root: Path) -> Parts:
    """The lists ``train_label.txt``, ``val_label.txt`` and ``test_label.txt``, and what they name.

    A line is ``action_001/NAME 0``; the recording is ``action_001/NAME.npz``, with arrays x, y, t and p. Its folder is
    its class; what follows the name is not read.

    Raises:
        NoRecordingsError: if a list is not there.
        DataError: if a line is no such line, or a recording that it names is missing.
    """
    return {part: _listed(root, root / f"{name}_label.txt") for part, name in _NAMES.items()}


def _listed(root: Path, path: Path) -> list[FileSource]:
    if not path.is_file():
        raise NoRecordingsError(f"har_dvs: no {path.name} in {root}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    sources = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        action, _, name = fields[0].partition("/")
        if action not in _CLASSES or {"", ".."} & set(name.split("/")):
            raise DataError(f"{path}: line {number}: expected action_001/NAME first, not {line.strip()[:40]!r}")
        recording = root / action / f"{name.removesuffix('.npz')}.npz"
        if not recording.is_file():
            raise DataError(f"{path}: line {number}: {recording} is not there")
        sources.append(FileSource(recording, f"{action}/{recording.name}", _CLASSES.index(action)))
    if not sources:
        raise DataError(f"{path}: names no recording")
    return sources


HARDVS = PublishedSet(
    name="har_dvs",
    classes=_CLASSES,
    sensor_size=(346, 260, 2),
    citation=(
        "Wang, X. et al. (2024). HARDVS: revisiting human activity recognition with dynamic vision sensors. AAAI "
        "Conference on Artificial Intelligence 38:5615-5623. https://doi.org/10.1609/aaai.v38i6.28372"
    ),
    home="https://github.com/Event-AHU/HARDVS",
    find=find_recordings,
)
