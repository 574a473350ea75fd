"""Digits DVS: scikit-learn's handwritten digits, as a simulated event camera on N-MNIST's saccades sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quietspike.core.checks import check_whole
from quietspike.core.errors import OptionError
from quietspike.datasets.camera import Camera, pixel_thresholds, record
from quietspike.datasets.events import Events
from quietspike.datasets.framed import FramedRecordings
from quietspike.datasets.options import Options, signature_with_options
from quietspike.datasets.saccades import DURATION_US, log_views, moving_views, saccade_path
from quietspike.datasets.splits import Indices, Part, hold_out, stratified_sample

SAMPLES = 1797
_CLASSES = tuple("0123456789")

_REVISION = 1  # of what is generated: raise it with every change of the scene or the camera, or old caches would stay
_BATCH = 64  # digits that are generated one after the other
_INTERVAL_US = 1_000  # the image moves by less than a tenth of a pixel meanwhile, at the default size
_IMAGE_SHARE = 0.8  # of the sensor's side that the image takes
_REACH_SHARE = 0.2  # of the sensor's side that the saccades reach
_FLOOR = 0.1  # intensity of the dark background, so a contrast of ten


@dataclass(frozen=True)
class DigitsSource:
    """Some digits in front of a camera.

    Args:
        indices: which, in scikit-learn's order.
        labels: their classes.
        size: the sensor's side in pixels.
        camera: that films them all.
        seed: of the camera's pixels and the noise.
    """

    indices: tuple[int, ...]
    labels: tuple[int, ...]
    size: int
    camera: Camera
    seed: int

    @property
    def identity(self) -> str:
        """All that the events follow from."""
        return f"{_REVISION} {self}"

    def read(self, wanted: Sequence[int]) -> Iterator[Events]:
        """Film digits; each one's noise is its own, whichever others are asked for."""
        from sklearn.datasets import load_digits

        images = load_digits().images / 16
        times = np.arange(0, DURATION_US + 1, _INTERVAL_US)
        path = saccade_path(times, _REACH_SHARE * self.size)
        cells = images.shape[1]
        scale = _IMAGE_SHARE * self.size / cells
        columns, rows = (moving_views(cells, self.size, scale, offsets) for offsets in path.T)
        thresholds = pixel_thresholds(self.camera, self.size, self.size, np.random.default_rng([self.seed]))
        for place in wanted:
            index = self.indices[place]
            levels = log_views(images[index], rows, columns, _FLOOR)
            yield record(levels, times, thresholds, self.camera, np.random.default_rng([self.seed, index]))


class DigitsDVS(FramedRecordings):
    """The embedded data set: no download, no recording; 1,797 digits of ten classes, generated and cached at first use.

    An 8x8 image (scikit-learn's ``load_digits``) is enlarged by bicubic interpolation to 4/5 of the sensor's side and
    moves along a triangle in three saccades of 100 ms: down right, up right, back left. The simulated camera's events
    become frames by time, ``steps`` windows over these 300 ms.

    Args:
        size: the sensor's side in pixels.
        threshold: contrast (change of log intensity) that makes an event.
        mismatch: standard deviation of the pixels' thresholds, relative to ``threshold``.
        noise_hz: background events of each pixel a second.
        refractory_us: microseconds in which a pixel that fired does not fire again.
        train: samples to train with.
        validation: samples to validate with.
        test: samples to test with; the three never share one, and each holds the classes in their share.
        seed: of the camera's pixels, the noise and the splits.
        options: as ``quietspike.datasets.options.Options``.

    Raises:
        UnknownNameError: for an option that there is not.
        OptionError: if a value is out of its range.
    """

    classes = _CLASSES
    origin = "generated"
    sensor_size = (20, 20, 2)  # by default
    citation = (
        "Alpaydin, E. and Kaynak, C. (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning "
        "Repository. https://doi.org/10.24432/C50P49. Seen through a camera simulated after Rebecq et al. (2018), "
        "ESIM: an open event camera simulator, and Hu et al. (2021), v2e: from video frames to realistic DVS events."
    )

    def __init__(
        self,
        *,
        size: int = 20,
        threshold: float = 0.3,
        mismatch: float = 0.05,
        noise_hz: float = 1.0,
        refractory_us: int = 1000,
        train: int = 1000,
        validation: int = 297,
        test: int = 500,
        seed: int = 0,
        **options: Any,
    ) -> None:
        check_whole(train=train, validation=validation, test=test)
        check_whole(8, size=size)
        if train + validation + test > SAMPLES:
            asked = f"train={train}, validation={validation}, test={test}"
            raise OptionError(f"{asked} are {train + validation + test} samples, and there are {SAMPLES}")
        chosen = Options.of("digits_dvs", {}, {**options, "seed": seed})
        camera = Camera(threshold, mismatch, refractory_us, noise_hz)
        counts: dict[Part, int] = {"train": train, "validation": validation, "test": test}
        parts = {name: _sources(indices, size, camera, seed) for name, indices in _divide(counts, seed).items()}
        super().__init__("digits_dvs", parts, (size, size, 2), _CLASSES, chosen, span=(0, DURATION_US))


DigitsDVS.__signature__ = signature_with_options(DigitsDVS)  # type: ignore[attr-defined]


def _divide(counts: Mapping[Part, int], seed: int) -> dict[Part, Indices]:
    """The digits of each split."""
    labels = np.array(_labels())
    rest, test = hold_out(labels, counts["test"], seed)
    stay, held = hold_out(labels[rest], counts["validation"], seed)
    train = stay[stratified_sample(labels[rest][stay], counts["train"], seed)]
    return {"train": rest[train], "validation": rest[held], "test": test}


def _sources(indices: Indices, size: int, camera: Camera, seed: int) -> list[DigitsSource]:
    labels = _labels()
    batches = [indices[start : start + _BATCH].tolist() for start in range(0, len(indices), _BATCH)]
    return [
        DigitsSource(tuple(batch), tuple(labels[index] for index in batch), size, camera, seed) for batch in batches
    ]


def _labels() -> tuple[int, ...]:
    from sklearn.datasets import load_digits

    return tuple(load_digits().target.tolist())
