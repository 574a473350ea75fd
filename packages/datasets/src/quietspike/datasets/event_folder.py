"""Any folder of recordings that is laid out as class/recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quietspike.core.checks import check_wholes
from quietspike.core.errors import DataError
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.framed import FramedRecordings, Options, Part, Parts, signature_with_options
from quietspike.datasets.published import NoRecordingsError, find_in_classes
from quietspike.datasets.recordings import SUFFIXES, read_recording
from quietspike.datasets.sources import FileSource

_NAMES: dict[Part, str] = {"train": "train", "validation": "validation", "test": "test"}


def event_folder(
    *,
    root: str | Path | None = None,
    sensor_size: Sequence[int] | None = None,
    columns: str = "txyp",
    unit_us: float = 1,
    **options: Any,
) -> FramedRecordings:
    """Open a folder of your own recordings; a folder in it is a class, a file in that a recording.

    Folders ``train``, ``test`` and perhaps ``validation``, each with folders of classes, give the splits; without them
    all recordings are divided by the options ``test`` and ``validation``.

    Args:
        root: the folder.
        sensor_size: width and height; left out, the first recording tells, in formats that do.
        columns: of tables without names (``.npy``, ``.npz``, ``.h5``, ``.txt``): x, y, t and p in their order.
        unit_us: microseconds of a unit of time of such tables.
        options: as ``quietspike.datasets.framed.Options``.

    Raises:
        UnknownNameError: for an option that there is not.
        OptionError: if a value is out of its range.
        DataError: if there are no recordings, or nothing tells the sensor's size.
    """
    layout = Layout(columns, unit_us)
    chosen = Options.of("event_folder", {}, options)
    if root is None:
        raise DataError("event_folder: give root, a folder with a folder of recordings for each class")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NoRecordingsError(f"event_folder: no folder {folder}")
    places: dict[Part, Path] = {part: folder / name for part, name in _NAMES.items() if (folder / name).is_dir()}
    if not {"train", "test"} <= places.keys():
        places = {"all": folder}
    classes = tuple(sorted({path.name for place in places.values() for path in _class_folders(place)}))
    parts: Parts = {part: find_in_classes(folder, place, classes, SUFFIXES, layout) for part, place in places.items()}
    if sensor_size is None:
        first = next(source for sources in parts.values() for source in sources)
        sensor_size = _told_size(first)
    else:
        check_wholes(2, sensor_size=sensor_size)
    width, height = sensor_size
    return FramedRecordings("event_folder", parts, (width, height, 2), classes, chosen)


event_folder.__signature__ = signature_with_options(event_folder)  # type: ignore[attr-defined]


def _class_folders(place: Path) -> list[Path]:
    folders = [path for path in place.glob("*/") if not path.name.startswith(".")]
    return [path for path in folders if any(file.suffix.lower() in SUFFIXES for file in path.iterdir())]


def _told_size(source: Any) -> tuple[int, int]:
    assert isinstance(source, FileSource)
    size = read_recording(source.path, source.layout).size
    if size is None:
        raise DataError(f"event_folder: {source.path} does not tell its sensor's size; give sensor_size, as [128, 128]")
    return size
