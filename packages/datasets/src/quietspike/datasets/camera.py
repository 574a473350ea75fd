"""A simulated event camera: levels of log intensity over time in, events out.

Each pixel holds a reference level L: an event of polarity p comes when p·(log I − L) reaches the pixel's threshold θ_p,
and then L ← L + p·θ_p. Between samples log I is taken as linear, which gives each crossing its own time. Noise and the
refractory time act on the events that come out, so the three can be checked one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from quietspike.core.checks import check_between, check_whole
from quietspike.datasets.events import Events, make_events, sort_by_time

Floats: TypeAlias = npt.NDArray[np.floating]
Columns: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Camera:
    """What distinguishes one event camera from another.

    Args:
        threshold: contrast θ, the change of log intensity that makes an event.
        mismatch: standard deviation of the pixels' thresholds, relative to θ; for ON and OFF separately.
        refractory_us: after an event, a pixel's further events are lost for so long.
        noise_hz: background events of each pixel a second, half of them ON.

    Raises:
        OptionError: if a value is out of its range.

    Source:
        Rebecq et al. 2018, ESIM: an open event camera simulator; Hu et al. 2021, v2e: from video frames to realistic
        DVS events. Differs: noise events are Poisson alone, the photoreceptor has no bandwidth limit, and noise does
        not move a pixel's reference level.
    """

    threshold: float = 0.3
    mismatch: float = 0.05
    refractory_us: int = 1000
    noise_hz: float = 1.0

    def __post_init__(self) -> None:
        check_between(0.01, 100, threshold=self.threshold)
        check_between(0, 1, mismatch=self.mismatch)
        check_between(0, 100_000, noise_hz=self.noise_hz)
        check_whole(0, refractory_us=self.refractory_us)


@dataclass(frozen=True)
class Bursts:
    """Times of more noise.

    Args:
        share: of the recording's time that they take together; no two overlap.
        hz: events of each pixel a second meanwhile, half of them ON.
        length_us: of one; as much more or less as it takes for a whole number of them to have that share.

    Raises:
        OptionError: if a value is out of its range.
    """

    share: float = 0.0
    hz: float = 5.0
    length_us: int = 100_000

    def __post_init__(self) -> None:
        check_between(0, 1, burst_share=self.share)
        check_between(0, 100_000, burst_hz=self.hz)
        check_whole(burst_us=self.length_us)


def pixel_thresholds(camera: Camera, height: int, width: int, random: np.random.Generator) -> Floats:
    """Thresholds [2, H, W], for OFF and ON; never below a tenth of the camera's: near 0 a pixel would fire for ever."""
    spread = 1 + camera.mismatch * random.standard_normal((2, height, width))
    return camera.threshold * np.maximum(spread, 0.1)


def record(
    levels: Floats, times: npt.NDArray[np.int64], thresholds: Floats, camera: Camera, random: np.random.Generator
) -> Events:
    """The events of a scene, in order of time; the pixels start at rest at its first level.

    Args:
        levels: log intensity [K, H, W].
        times: of the levels, in µs, [K], rising.
        thresholds: [2, H, W], of ``pixel_thresholds``.
        camera: refractory time and noise.
        random: draws the noise.
    """
    signal = _crossings(levels, times, thresholds)
    noise = _noise(levels.shape[1:], times[0], times[-1], camera.noise_hz, random)
    x, y, t, p = (np.concatenate(columns) for columns in zip(signal, noise, strict=True))
    events = sort_by_time(make_events(x, y, np.rint(t), p))
    if not camera.refractory_us:
        return events
    kept: npt.NDArray[np.bool_] = _awake(events["x"], events["y"], events["t"], levels.shape[1:], camera.refractory_us)
    return events[kept]


def add_bursts(
    events: Events, size: tuple[int, int], duration_us: int, bursts: Bursts, random: np.random.Generator
) -> Events:
    """Let the background rise for a while, here and there in a recording: a lamp flickers, the camera is pushed.

    Args:
        events: in order of time.
        size: width and height of the sensor.
        duration_us: of the recording, which starts at 0.
        bursts: how often, how long, how strong.
        random: draws when, and the noise.
    """
    if not bursts.share:
        return events
    number = max(1, round(bursts.share * duration_us / bursts.length_us))
    length = int(bursts.share * duration_us) // number
    starts = np.sort(random.integers(0, duration_us - number * length + 1, number)) + length * np.arange(number)
    parts = [events]
    for start in starts:
        x, y, t, p = _noise(size[::-1], start, start + length, bursts.hz, random)
        parts.append(make_events(x, y, np.floor(t), p))
    return sort_by_time(np.concatenate(parts))


def _noise(shape: tuple[int, ...], start: int, end: int, hz: float, random: np.random.Generator) -> Columns:
    """A Poisson number of events, each at an even chance anywhere on the sensor and in that time."""
    height, width = shape
    number = random.poisson(hz * (end - start) / 1e6 * height * width)
    x, y = random.integers(0, width, number), random.integers(0, height, number)
    return x, y, random.uniform(start, end, number), random.integers(0, 2, number)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _crossings(levels: Floats, times: npt.NDArray[np.int64], thresholds: Floats) -> Columns:
    samples, height, width = levels.shape
    # No pixel fires more often than its level's whole travel holds its smaller threshold.
    most = 0
    for row in range(height):
        for column in range(width):
            travel = 0.0
            for k in range(1, samples):
                travel += abs(levels[k, row, column] - levels[k - 1, row, column])
            most += int(travel / min(thresholds[0, row, column], thresholds[1, row, column])) + 1
    x, y = np.empty(most, np.int64), np.empty(most, np.int64)
    t, p = np.empty(most, np.float64), np.empty(most, np.int64)
    reference = levels[0].astype(np.float64)
    found = 0
    for k in range(1, samples):
        for row in range(height):
            for column in range(width):
                before, after = levels[k - 1, row, column], levels[k, row, column]
                polarity = 1 if after > before else 0
                sign = 2 * polarity - 1
                threshold = thresholds[polarity, row, column]
                while sign * (after - reference[row, column]) >= threshold:
                    reference[row, column] += sign * threshold
                    share = (reference[row, column] - before) / (after - before)
                    x[found], y[found], p[found] = column, row, polarity
                    t[found] = times[k - 1] + share * (times[k] - times[k - 1])
                    found += 1
    return x[:found], y[:found], t[:found], p[:found]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _awake(
    x: npt.NDArray[np.int16],
    y: npt.NDArray[np.int16],
    t: npt.NDArray[np.int64],
    shape: tuple[int, int],
    refractory: int,
) -> npt.NDArray[np.bool_]:
    """Which events come while their pixel can fire; lost ones do not prolong its rest."""
    kept = np.zeros(len(t), np.bool_)
    ready = np.full(shape, t[0] if len(t) else 0)
    for i in range(len(t)):
        if t[i] >= ready[y[i], x[i]]:
            kept[i] = True
            ready[y[i], x[i]] = t[i] + refractory
    return kept
