"""Any folder of recordings that is laid out as class/recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quietspike.core.checks import check_wholes
from quietspike.core.errors import OptionError
from quietspike.datasets.class_folders import find_classes, find_parts, open_root
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.framed import FramedRecordings
from quietspike.datasets.options import Options, signature_with_options
from quietspike.datasets.published import find_in_classes
from quietspike.datasets.recordings import SUFFIXES
from quietspike.datasets.sources import Parts, on_sensor, told_size

_LONGEST = 1 << 15  # coordinates have 16 bits


def event_folder(
    *,
    root: str | Path | None = None,
    sensor_size: Sequence[int] | None = None,
    columns: str = "txyp",
    unit_us: float = 1,
    **options: Any,
) -> FramedRecordings:
    """Open a folder of your own recordings; a folder in it is a class, a file in that a recording.

    Folders ``train``, ``test`` and perhaps ``validation`` (or ``val``), each with folders of classes, give the splits;
    without them all recordings are divided by the options ``test`` and ``validation``. What is hidden is left out.

    Args:
        root: the folder.
        sensor_size: width and height. Left out, the first recording tells, in formats that do, and others must not
            tell another; given, they may be of smaller sensors.
        columns: of tables without names (``.npy``, ``.npz``, ``.h5``, ``.txt``): x, y, t and p in their order.
        unit_us: microseconds of a unit of time of such tables.
        options: as ``quietspike.datasets.options.Options``.

    Raises:
        UnknownNameError: for an option that there is not.
        OptionError: if a value is out of its range.
        DataError: if there are no recordings, a class has none, or nothing tells the sensor's size.
    """
    layout = Layout(columns, unit_us)
    chosen = Options.of("event_folder", {}, options)
    if sensor_size is not None:
        sensor_size = sensor_size[:2] if list(sensor_size[2:]) == [2] else sensor_size  # as tonic writes it
        check_wholes(2, sensor_size=sensor_size)
        if max(sensor_size) > _LONGEST:
            raise OptionError(f"sensor_size={list(sensor_size)}: must be at most {_LONGEST}")
    folder = open_root("event_folder", root, "a folder with a folder of recordings for each class")
    places = find_parts(folder)
    classes = find_classes(places.values())
    parts: Parts = {part: find_in_classes(folder, place, classes, SUFFIXES, layout) for part, place in places.items()}
    width, height = sensor_size or told_size("event_folder", parts)
    parts = on_sensor(parts, (width, height), is_only=sensor_size is None)
    return FramedRecordings("event_folder", parts, (width, height, 2), classes, chosen, root=folder)


event_folder.__signature__ = signature_with_options(event_folder)  # type: ignore[attr-defined]
event_folder.origin = "your folder"  # type: ignore[attr-defined]
