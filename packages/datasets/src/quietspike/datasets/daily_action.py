"""DailyAction-DVS: fifteen people in twelve daily actions."""

from __future__ import annotations

import re
from pathlib import Path

from quietspike.datasets.published import PublishedSet, find_in_classes
from quietspike.datasets.sources import Parts

_CLASSES = ("climb", "stand", "jump", "fall", "sit", "get up", "walk", "run", "lift", "lie", "bend", "pick")


def find_recordings(root: Path) -> Parts:
    """A folder for each class with ``.aedat`` files, without the copies that are handed out too: ``NAME(1).aedat``.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a folder of recordings that is none of the classes.
    """
    sources = find_in_classes(root, root, _CLASSES, frozenset({".aedat"}))
    there = {source.path for source in sources}
    return {"all": [source for source in sources if not _copied(source.path) & there]}


def _copied(path: Path) -> set[Path]:
    """What a file is a copy of, by its name."""
    original = re.sub(r" ?\(\d+\)$", "", path.stem)
    return {path.with_name(original + path.suffix)} - {path}


DailyActionDVS = PublishedSet(
    name="daily_action_dvs",
    classes=_CLASSES,
    sensor_size=None,  # MA-SNN's authors take 346x260, other loaders 128x128: the file's header says
    citation=(
        "Liu, Q., Xing, D., Tang, H., Ma, D. and Pan, G. (2021). Event-based action recognition using motion "
        "information and spiking neural networks. International Joint Conference on Artificial Intelligence, "
        "1743-1749. https://doi.org/10.24963/ijcai.2021/240"
    ),
    home="https://doi.org/10.24963/ijcai.2021/240",
    find=find_recordings,
    defaults={"steps": 36, "window_us": 120_000, "downscale": 2, "start": "random", "clips": 10},
)
