"""DailyAction-DVS: fifteen people in twelve daily actions, recorded by a DAVIS346."""

from __future__ import annotations

from pathlib import Path

from quietspike.datasets.framed import Parts
from quietspike.datasets.published import PublishedSet, find_in_classes

_CLASSES = ("climb", "stand", "jump", "fall", "sit", "get up", "walk", "run", "lift", "lie", "bend", "pick")


def find_recordings(root: Path) -> Parts:
    """A folder for each class with ``.aedat`` files.

    Raises:
        NoRecordingsError: if there are none.
        DataError: for a folder of recordings that is none of the classes.
    """
    return {"all": find_in_classes(root, root, _CLASSES, frozenset({".aedat"}))}


DailyActionDVS = PublishedSet(
    name="daily_action_dvs",
    classes=_CLASSES,
    sensor_size=(346, 260, 2),
    citation=(
        "Liu, Q., Xing, D., Tang, H., Ma, D. and Pan, G. (2021). Event-based action recognition using motion "
        "information and spiking neural networks. International Joint Conference on Artificial Intelligence, "
        "1743-1749. https://doi.org/10.24963/ijcai.2021/240"
    ),
    find=find_recordings,
    defaults={"steps": 36, "window_us": 120_000, "downscale": 2, "start": "random", "clips": 10},
)
