"""Digits DVS: scikit-learn's handwritten digits, as a simulated event camera on N-MNIST's saccades sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict

import numpy as np

from quietspike.core.checks import check_whole
from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, OptionError, unknown_name
from quietspike.datasets.cache import cached
from quietspike.datasets.camera import Camera, pixel_thresholds, record
from quietspike.datasets.events import Events
from quietspike.datasets.frames import Framing, SensorSize, frame_all
from quietspike.datasets.loading import FrameArrays
from quietspike.datasets.saccades import DURATION_US, log_views, moving_views, saccade_path
from quietspike.datasets.splits import hold_out, stratified_sample

SAMPLES = 1797

_REVISION = 1  # of what is generated: raise it with every change of the scene or the camera, or old caches would stay
_INTERVAL_US = 1_000  # the image moves by less than a tenth of a pixel meanwhile, at the default size
_IMAGE_SHARE = 0.8  # of the sensor's side that the image takes
_REACH_SHARE = 0.2  # of the sensor's side that the saccades reach
_FLOOR = 0.1  # intensity of the dark background, so a contrast of ten


class DigitsDVS:
    """The embedded data set: no download, no recording; 1,797 digits of ten classes, generated and cached at first use.

    An 8x8 image (scikit-learn's ``load_digits``) is enlarged by bicubic interpolation to 4/5 of the sensor's side and
    moves along a triangle in three saccades of 100 ms: down right, up right, back left. The simulated camera's events
    become frames by time, ``steps`` windows over these 300 ms.

    Args:
        steps: T, the frames of a sample.
        size: the sensor's side in pixels.
        threshold: contrast (change of log intensity) that makes an event.
        mismatch: standard deviation of the pixels' thresholds, relative to ``threshold``.
        noise_hz: background events of each pixel a second.
        refractory_us: microseconds in which a pixel that fired does not fire again.
        binary: mark a pixel with 1 however many events it has in a step; else count them.
        seed: of the camera's pixels, the noise and the splits.
        train: samples to train with.
        validation: samples to validate with.
        test: samples to test with; the three never share one, and each holds the classes in their share.

    Raises:
        OptionError: if a value is out of its range.
    """

    classes: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    sensor_size: SensorSize = (20, 20, 2)
    citation = (
        "Alpaydin, E. and Kaynak, C. (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning "
        "Repository. https://doi.org/10.24432/C50P49. Seen through a camera simulated after Rebecq et al. (2018), "
        "ESIM: an open event camera simulator, and Hu et al. (2021), v2e: from video frames to realistic DVS events."
    )

    def __init__(
        self,
        *,
        steps: int = 8,
        size: int = 20,
        threshold: float = 0.3,
        mismatch: float = 0.05,
        noise_hz: float = 1.0,
        refractory_us: int = 1000,
        binary: bool = False,
        seed: int = 0,
        train: int = 1000,
        validation: int = 297,
        test: int = 500,
    ) -> None:
        check_whole(train=train, validation=validation, test=test)
        check_whole(8, size=size)
        check_whole(0, seed=seed)
        if train + validation + test > SAMPLES:
            counts = f"train={train}, validation={validation}, test={test}"
            raise OptionError(f"{counts} are {train + validation + test} samples, and there are {SAMPLES}")
        self.framing = Framing(steps=steps, binary=binary)
        self.camera = Camera(threshold, mismatch, refractory_us, noise_hz)
        self.sensor_size = (size, size, 2)
        self.steps = self.framing.steps
        self.input_shape = self.framing.input_shape(self.sensor_size)
        self._seed = seed
        self._counts = {"train": train, "validation": validation, "test": test}

    def split(self, name: SplitName) -> FrameArrays:
        """The samples of ``train``, ``validation`` or ``test``; generates all of them if no cache holds them.

        Raises:
            UnknownNameError: if it is none of the three.
            DataError: if the cache cannot be written.
        """
        if name not in self._counts:
            raise unknown_name("digits_dvs: split", name, self._counts)
        key = {
            "name": "digits_dvs",
            "revision": _REVISION,
            "size": self.sensor_size[0],
            "camera": asdict(self.camera),
            "framing": asdict(self.framing),
            "seed": self._seed,
        }
        arrays = cached(key, self._build)
        labels = arrays["labels"]
        rest, test = hold_out(labels, self._counts["test"], self._seed)
        rest_labels = labels[rest]
        stay, held = hold_out(rest_labels, self._counts["validation"], self._seed)
        train = stay[stratified_sample(rest_labels[stay], self._counts["train"], self._seed)]
        indices = {"train": rest[train], "validation": rest[held], "test": test}[name]
        return FrameArrays(arrays["frames"], labels, indices)

    def recording(self, index: int) -> Events:
        """The events of one of the 1,797 digits, in scikit-learn's order.

        Raises:
            DataError: if there is no such digit.
        """
        if not 0 <= index < SAMPLES:
            raise DataError(f"digits_dvs: no recording {index}; there are 0 to {SAMPLES - 1}")
        return next(self._recordings([index]))

    def _build(self) -> dict[str, np.ndarray]:
        from sklearn.datasets import load_digits

        recordings = self._recordings(range(SAMPLES))
        frames = frame_all(recordings, SAMPLES, self.sensor_size, self.framing, span=(0, DURATION_US))
        return {"frames": frames, "labels": load_digits().target.astype(np.int64)}

    def _recordings(self, indices: Iterable[int]) -> Iterator[Events]:
        """One camera films every digit; each digit's noise is its own, whichever others are asked for."""
        from sklearn.datasets import load_digits

        images = load_digits().images / 16
        size = self.sensor_size[0]
        times = np.arange(0, DURATION_US + 1, _INTERVAL_US)
        path = saccade_path(times, _REACH_SHARE * size)
        cells = images.shape[1]
        columns, rows = (moving_views(cells, size, _IMAGE_SHARE * size / cells, offsets) for offsets in path.T)
        thresholds = pixel_thresholds(self.camera, size, size, np.random.default_rng([self._seed]))
        for index in indices:
            levels = log_views(images[index], rows, columns, _FLOOR)
            yield record(levels, times, thresholds, self.camera, np.random.default_rng([self._seed, index]))
