"""Changes of a recording that leave its class what it is; for training alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from quietspike.core.checks import check_between, check_whole
from quietspike.core.errors import OptionError, unknown_name
from quietspike.datasets.events import Events, make_events, sort_by_time


@dataclass(frozen=True)
class Augment:
    """Random changes, in this order; each is off at 0.

    Args:
        flip: how often left and right are exchanged, 0..1.
        rotate: degrees by which the scene is turned at most, either way, around the sensor's middle.
        shift: pixels by which it is moved at most, in x and in y.
        drop_time: the largest share of the recording's time from which events are dropped.
        drop_area: the largest share of the sensor, one rectangle of the sensor's shape, whose events are dropped.
        drop_random: the largest share of events that are dropped, each for itself.
        noise: events added at random places and times, as a share of the recording's.

    Of the three drops that are on, and none, one is chosen for each sample at even chances.

    Raises:
        OptionError: if a value is out of its range.

    Source:
        Gu et al. 2021, EventDrop: data augmentation for event-based learning. Differs: shares are drawn evenly from 0
        to the largest, and the area is a rectangle; the code that ASA-SNN uses drops a cross.
    """

    flip: float = 0
    rotate: float = 0
    shift: int = 0
    drop_time: float = 0
    drop_area: float = 0
    drop_random: float = 0
    noise: float = 0

    def __post_init__(self) -> None:
        shares = {"flip": self.flip, "drop_time": self.drop_time, "drop_area": self.drop_area}
        check_between(0, 1, **shares, drop_random=self.drop_random)
        check_between(0, 180, rotate=self.rotate)
        check_between(0, 10, noise=self.noise)
        check_whole(0, shift=self.shift)

    @classmethod
    def of(cls, chosen: Mapping[str, Any]) -> Augment:
        """From an experiment's options.

        Raises:
            UnknownNameError: for an option that there is not.
            OptionError: if a value is out of its range.
        """
        if not isinstance(chosen, Mapping):
            raise OptionError(f"augment={chosen!r}: must be a mapping, as {{flip: 0.5}} is")
        known = [field.name for field in fields(cls)]
        for name in chosen:
            if name not in known:
                raise unknown_name("augment", str(name), known)
        return cls(**chosen)

    def apply(self, events: Events, size: tuple[int, int], random: np.random.Generator) -> Events:
        """A changed copy, in order of time; events that leave the sensor are dropped with the next framing.

        Args:
            events: of one sample.
            size: width and height of the sensor.
            random: draws everything.
        """
        if random.random() < self.flip:
            events = _moved(events, size[0] - 1 - events["x"].astype(np.float64), events["y"])
        if self.rotate:
            events = _rotated(events, size, np.deg2rad(random.uniform(-self.rotate, self.rotate)))
        if self.shift:
            dx, dy = random.integers(-self.shift, self.shift + 1, 2)
            events = _moved(events, events["x"] + np.float64(dx), events["y"] + np.float64(dy))
        events = self._dropped(events, size, random)
        return self._with_noise(events, size, random) if self.noise else events

    def _dropped(self, events: Events, size: tuple[int, int], random: np.random.Generator) -> Events:
        drops: list[tuple[float, Callable[..., Events]]] = [
            (self.drop_time, _drop_time),
            (self.drop_area, _drop_area),
            (self.drop_random, _drop_random),
        ]
        chosen = [drop for drop in drops if drop[0] > 0]
        which = int(random.integers(len(chosen) + 1)) if chosen else 0
        if which == len(chosen) or not len(events):
            return events
        most, drop = chosen[which]
        kept = drop(events, size, random.uniform(0, most), random)
        return kept if len(kept) else events  # a sample of no events teaches nothing

    def _with_noise(self, events: Events, size: tuple[int, int], random: np.random.Generator) -> Events:
        number = random.poisson(self.noise * len(events))
        if not number:
            return events
        x, y = random.integers(0, size[0], number), random.integers(0, size[1], number)
        t = random.integers(events["t"].min(), events["t"].max(), number, endpoint=True)
        added = make_events(x, y, t, random.integers(0, 2, number))
        return sort_by_time(np.concatenate([events, added]))


def _moved(events: Events, x: np.ndarray, y: np.ndarray) -> Events:
    """At other coordinates, rounded; those far off the sensor are put just off it, where 16 bits hold them."""
    moved = events.copy()
    limits = np.iinfo(np.int16)
    moved["x"] = np.clip(np.rint(x), limits.min, limits.max)
    moved["y"] = np.clip(np.rint(y), limits.min, limits.max)
    return moved


def _rotated(events: Events, size: tuple[int, int], angle: float) -> Events:
    middle_x, middle_y = (size[0] - 1) / 2, (size[1] - 1) / 2
    x, y = events["x"] - middle_x, events["y"] - middle_y
    cos, sin = np.cos(angle), np.sin(angle)
    return _moved(events, middle_x + cos * x - sin * y, middle_y + sin * x + cos * y)


def _drop_time(events: Events, size: tuple[int, int], share: float, random: np.random.Generator) -> Events:
    first, last = int(events["t"].min()), int(events["t"].max())
    length = share * (last + 1 - first)
    start = first + random.uniform(0, last + 1 - first - length)
    return events[(events["t"] < start) | (events["t"] >= start + length)]


def _drop_area(events: Events, size: tuple[int, int], share: float, random: np.random.Generator) -> Events:
    kept = np.zeros(len(events), bool)
    for name, length in zip(("x", "y"), size, strict=True):
        side = np.sqrt(share) * length
        start = random.uniform(0, length - side)
        middle = events[name] + 0.5  # of the pixel
        kept |= (middle < start) | (middle >= start + side)
    return events[kept]


def _drop_random(events: Events, size: tuple[int, int], share: float, random: np.random.Generator) -> Events:
    return events[random.random(len(events)) >= share]
