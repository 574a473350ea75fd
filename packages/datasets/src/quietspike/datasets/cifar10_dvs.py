"""CIFAR10-DVS: images of CIFAR-10 that moved on a screen in front of a DVS128."""

from __future__ import annotations

from pathlib import Path

from quietspike.datasets.class_folders import NoRecordingsError
from quietspike.datasets.published import PublishedSet, find_in_classes
from quietspike.datasets.sources import Parts

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DOWNLOADED = "CIFAR10DVS"
_SUFFIXES = frozenset({".aedat", ".aedat4"})


def find_recordings(root: Path) -> Parts:
    """A folder for each class, at the top or where tonic puts them, with ``.aedat`` (as published) or ``.aedat4``.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a folder of recordings that is none of the classes.
    """
    folder = next((place for place in (root, root / _DOWNLOADED) if (place / _CLASSES[0]).is_dir()), None)
    if folder is None:
        raise NoRecordingsError(f"cifar10_dvs: neither {root} nor {root / _DOWNLOADED} holds a folder {_CLASSES[0]}")
    return {"all": find_in_classes(root, folder, _CLASSES, _SUFFIXES)}


CIFAR10DVS = PublishedSet(
    name="cifar10_dvs",
    classes=_CLASSES,
    sensor_size=(128, 128, 2),
    citation=(
        "Li, H., Liu, H., Ji, X., Li, G. and Shi, L. (2017). CIFAR10-DVS: an event-stream dataset for object "
        "classification. Frontiers in Neuroscience 11:309. https://doi.org/10.3389/fnins.2017.00309"
    ),
    home="https://doi.org/10.6084/m9.figshare.4724671",
    find=find_recordings,
    tonic=("CIFAR10DVS", ({},)),
    folder=_DOWNLOADED,
    defaults={"steps": 20, "window_us": 10_000, "start": "random", "test": 0.1, "validation": 0.1},
)
