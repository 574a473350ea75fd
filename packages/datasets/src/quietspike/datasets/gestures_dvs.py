"""Gestures DVS: people who make DVS128 Gesture's eleven gestures before a simulated event camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quietspike.core.checks import check_whole
from quietspike.datasets.camera import Bursts, Camera, add_bursts
from quietspike.datasets.events import Events
from quietspike.datasets.framed import FramedRecordings
from quietspike.datasets.gesture_scenes import film
from quietspike.datasets.gestures import Gesture
from quietspike.datasets.options import Options, signature_with_options
from quietspike.datasets.splits import Part

_REVISION = 2  # of what is generated: raise it with every change of the scene or the camera, or old caches would stay
_CLASSES = tuple(gesture.name.lower().replace("_", " ") for gesture in Gesture)


@dataclass(frozen=True)
class PersonSource:
    """One person who makes each gesture once.

    Args:
        person: who, before which wall.
        camera: that films all.
        bursts: of noise.
        size: the sensor's side in pixels.
        duration_us: length of a recording.
        seed: of the camera's pixels and the people.
    """

    person: int
    camera: Camera
    bursts: Bursts
    size: int
    duration_us: int
    seed: int

    @property
    def labels(self) -> Sequence[int]:
        """Each gesture once."""
        return range(len(_CLASSES))

    @property
    def identity(self) -> str:
        """All that the events follow from."""
        return f"{_REVISION} {self}"

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """Film gestures."""
        for gesture in wanted:
            events = film(gesture, self.camera, self.size, self.duration_us, seed=self.seed, index=self.person)
            random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.person, gesture)))
            yield add_bursts(events, (self.size, self.size), self.duration_us, self.bursts, random)


class GesturesDVS(FramedRecordings):
    """A generated set of eleven gestures, of which four differ from another by the direction of motion alone.

    A drawn person's upper body moves before a textured wall as in DVS128 Gesture (Amir et al. 2017): clapping, waving
    with either hand, circling either arm clockwise or counter-clockwise, rolling the arms, drumming, playing the
    guitar, and something else. A circle backwards in time is the other circle, in every pose: a network that does not
    tell one time from another cannot tell them apart. People differ in place, size, speed and tones; nobody is in two
    splits. For two fifths of the time noise drowns them, as a flickering lamp does: who attends to steps is helped.

    Args:
        size: the sensor's side in pixels.
        duration_us: length of a recording in µs.
        threshold: contrast (change of log intensity) that makes an event.
        mismatch: standard deviation of the pixels' thresholds, relative to ``threshold``.
        noise_hz: background events of each pixel a second.
        refractory_us: microseconds in which a pixel that fired does not fire again.
        burst_share: of the time with more noise, in bursts of about 100 ms.
        burst_hz: events of each pixel a second in a burst.
        train: people to train with; each makes every gesture once.
        validation: people to validate with.
        test: people to test with.
        seed: of the camera's pixels, the noise and the people.
        options: as ``quietspike.datasets.options.Options``.

    Raises:
        UnknownNameError: for an option that there is not.
        OptionError: if a value is out of its range.
    """

    classes = _CLASSES
    origin = "generated"
    sensor_size = (128, 128, 2)  # by default
    citation = (
        "Modelled on Amir, A. et al. (2017). A low power, fully event-based gesture recognition system. CVPR. Seen "
        "through a camera simulated after Rebecq et al. (2018), ESIM: an open event camera simulator, and Hu et al. "
        "(2021), v2e: from video frames to realistic DVS events."
    )

    def __init__(
        self,
        *,
        size: int = 128,
        duration_us: int = 1_200_000,
        threshold: float = 0.3,
        mismatch: float = 0.05,
        noise_hz: float = 1.0,
        refractory_us: int = 1000,
        burst_share: float = 0.4,
        burst_hz: float = 5.0,
        train: int = 50,
        validation: int = 15,
        test: int = 20,
        seed: int = 0,
        steps: int = 16,
        downscale: int = 4,
        **options: Any,
    ) -> None:
        check_whole(train=train, validation=validation, test=test, duration_us=duration_us)
        check_whole(16, size=size)
        given = {**options, "steps": steps, "downscale": downscale, "seed": seed}
        chosen = Options.of("gestures_dvs", {}, given)
        camera = Camera(threshold, mismatch, refractory_us, noise_hz)
        bursts = Bursts(burst_share, burst_hz)
        people = [
            PersonSource(index, camera, bursts, size, duration_us, seed) for index in range(train + validation + test)
        ]
        parts: dict[Part, list[PersonSource]] = {
            "train": people[:train],
            "validation": people[train : train + validation],
            "test": people[train + validation :],
        }
        super().__init__("gestures_dvs", parts, (size, size, 2), _CLASSES, chosen, span=(0, duration_us))


GesturesDVS.__signature__ = signature_with_options(GesturesDVS)  # type: ignore[attr-defined]
