"""Images by folder, shown at every step: direct coding."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from quietspike.core.checks import check_between, check_flag, check_whole
from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, unknown_name
from quietspike.core.seeds import derive_seed
from quietspike.datasets.autoaugment import augment_image
from quietspike.datasets.class_folders import find_classes, find_files, find_parts, open_root
from quietspike.datasets.splits import Part, check_held, divide, limited

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # of ImageNet's channels, 0..1
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_RESIZED = 256 / 224  # an image's shorter side before its middle is cut out, over the cut's
_AREAS, _ASPECTS = (0.08, 1.0), (3 / 4, 4 / 3)
_TRIES = 10
_LARGEST = 4096

Box: TypeAlias = tuple[float, float, float, float]
Paths: TypeAlias = list[tuple[Path, int]]


@dataclass(frozen=True)
class ImageSplit:
    """A split of images.

    Args:
        paths: of the images, with their classes.
        size: side of the square that is shown.
        steps: T.
        crop: cut a random part out of each, as Inception was trained; else the middle.
        flip: how often left and right are exchanged.
        autoaugment: change each by AutoAugment's policy for ImageNet.
        epoch: whose draws these are.
        seed: of the run.

    Shape:
        ``split[i]`` → ([T, 3, size, size] float32, int); the T frames are one, and share their memory.
    """

    paths: Paths
    size: int
    steps: int
    crop: bool = False
    flip: float = 0
    autoaugment: bool = False
    epoch: int = 0
    seed: int = 0

    images = True  # not events: each pixel costs the first layer a multiplication

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with _without_warnings():
            return self._sample(range(len(self))[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """A batch, in the order asked for; images are decoded side by side."""
        with _without_warnings(), ThreadPoolExecutor() as pool:
            return list(pool.map(self._sample, indices))

    def at_epoch(self, number: int, seed: int) -> ImageSplit:
        """The split as a run of that seed sees it in that epoch."""
        return replace(self, epoch=number, seed=seed)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each image, [N]."""
        return np.array([label for _, label in self.paths], dtype=np.int64)

    def _sample(self, place: int) -> tuple[Tensor, int]:
        random = np.random.default_rng([derive_seed(self.seed, "images", self.epoch), place])
        path, label = self.paths[place]
        image = torch.from_numpy(_normalised(self._cut(path, random)))
        return image.expand(self.steps, -1, -1, -1), label

    def _cut(self, path: Path, random: np.random.Generator) -> Image.Image:
        image = _read(path)
        box = _random_box(image.size, random) if self.crop else _middle_box(image.size)
        cut = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box, reducing_gap=3)
        shown = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < self.flip else cut
        return augment_image(shown, random) if self.autoaugment else shown


class ImageFolder:
    """Images in a folder for each class, as ImageNet's: each image is shown at all T steps.

    Folders ``train``, ``test`` and perhaps ``validation`` (or ``val``), each with folders of classes, give the splits;
    of ``train`` and ``val`` alone, ``val`` is to test with, as ImageNet's is. Without them all images are divided by
    the options ``test`` and ``validation``. What is hidden is left out, and nothing is cached.

    Args:
        root: the folder.
        steps: T.
        size: side of the square that is shown: the middle of an image, after its shorter side became 8/7 of that.
        crop: for training cut a random part out of each: 8 to 100 % of its area, 3:4 to 4:3.
        flip: for training exchange left and right so often.
        autoaugment: for training change each image, after that, by AutoAugment's policy for ImageNet.
        validation: share or number of the training images that are held out, where there is no such folder.
        test: share or number of all images that are held out first, where there is no such folder.
        seed: decides which.
        max_train: train with at most so many; the classes keep their shares.
        max_validation: validate with at most so many.
        max_test: test with at most so many.

    Raises:
        OptionError: if a value is out of its range.
        DataError: if there are no images, or a class has none.

    Source:
        Direct coding: Rathi and Roy 2021, DIET-SNN. Crops: Szegedy et al. 2015, Going deeper with convolutions.
        Policy: Cubuk et al. 2019, AutoAugment; see ``augment_image``.
    """

    origin = "your folder"

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        steps: int = 4,
        size: int = 224,
        crop: bool = True,
        flip: float = 0.5,
        autoaugment: bool = False,
        validation: float | int = 0.1,
        test: float | int = 0.2,
        seed: int = 0,
        max_train: int | None = None,
        max_validation: int | None = None,
        max_test: int | None = None,
    ) -> None:
        check_whole(steps=steps, size=size)
        check_between(1, _LARGEST, size=size)
        check_whole(0, seed=seed)
        check_held(validation=validation, test=test)
        check_flag(crop=crop, autoaugment=autoaugment)
        check_between(0, 1, flip=flip)
        self._most = {"train": max_train, "validation": max_validation, "test": max_test}
        check_whole(**{f"max_{name}": count for name, count in self._most.items() if count is not None})
        self.steps, self.input_shape = steps, (3, size, size)
        self._size, self._seed = size, seed
        self._crop, self._flip, self._autoaugment = crop, flip, autoaugment
        self._held: dict[SplitName, float] = {"validation": validation, "test": test}
        places = find_parts(open_root("image_folder", root, "a folder with a folder of images for each class"))
        self.classes = find_classes(places.values())
        self._parts: dict[Part, Paths] = {
            part: find_files(place, self.classes, SUFFIXES) for part, place in places.items()
        }

    def split(self, name: SplitName) -> ImageSplit:
        """The images of ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: if it is none of the three.
            OptionError: if so many cannot be held out.
        """
        if name not in self._most:
            raise unknown_name("image_folder: split", name, self._most)
        known = {part: [label for _, label in paths] for part, paths in self._parts.items()}
        part, chosen = divide(known, name, self._held, self._seed)
        kept = chosen[limited(np.array(known[part])[chosen], self._most[name], self._seed)]
        paths = [self._parts[part][index] for index in kept]
        if name != "train":
            return ImageSplit(paths, self._size, self.steps)
        return ImageSplit(paths, self._size, self.steps, self._crop, self._flip, self._autoaugment)

    def labels(self, name: SplitName) -> npt.NDArray[np.int64]:
        """The class of each of a split's images, [N]."""
        return self.split(name).labels


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of palettes and large images, which is nothing to its user here; filters are the process's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path) -> Image.Image:
    """An image in 8 bits of red, green and blue; of 16 bits of grey the upper ones.

    Raises:
        DataError: if it is none, or of numbers whose range nothing tells.
    """
    try:
        with Image.open(path) as file:
            if file.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)).convert("RGB")
            if file.mode in ("I", "F"):
                raise DataError(f"{path}: an image of 32 bits a pixel (mode {file.mode}); convert it to 8 or 16")
            return file.convert("RGB")
    except DataError:
        raise
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: no image that can be read: {error}") from error


def _middle_box(size: tuple[int, int]) -> Box:
    side = min(size) / _RESIZED
    left, top = ((length - side) / 2 for length in size)
    return left, top, left + side, top + side


def _random_box(size: tuple[int, int], random: np.random.Generator) -> Box:
    """A part of random area and aspect; the middle, where none fits in some tries."""
    width, height = size
    for _ in range(_TRIES):
        area = width * height * random.uniform(*_AREAS)
        aspect = np.exp(random.uniform(*np.log(_ASPECTS)))
        w, h = float(np.sqrt(area * aspect)), float(np.sqrt(area / aspect))
        if w <= width and h <= height:
            left, top = random.uniform(0, width - w), random.uniform(0, height - h)
            return left, top, left + w, top + h
    return _middle_box(size)


def _normalised(image: Image.Image) -> npt.NDArray[np.float32]:
    """[3, H, W], each channel with ImageNet's mean at 0 and its deviation at 1."""
    shown = (np.asarray(image, dtype=np.float32) / 255 - _MEAN) / _DEVIATION
    return np.ascontiguousarray(shown.transpose(2, 0, 1))
