"""Images by folder, shown at every step: direct coding."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from quietspike.datasets.published import NoRecordingsError
from quietspike.datasets.splits import hold_out, limited

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)  # of ImageNet's channels, 0..1
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_RESIZED = 256 / 224  # an image's shorter side before its middle is cut out, over the cut's
_AREAS, _ASPECTS = (0.08, 1.0), (3 / 4, 4 / 3)
_TRIES = 10
_NAMES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation",),
    "test": ("test", "val"),  # ImageNet's is asked for its labels, and everybody tests with it
}

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
    epoch: int = 0
    seed: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = range(len(self))[index]
        random = np.random.default_rng([derive_seed(self.seed, "images", self.epoch), place])
        path, label = self.paths[place]
        image = torch.from_numpy(_normalised(self._cut(path, random)))
        return image.expand(self.steps, -1, -1, -1), label

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """A batch, in the order asked for; images are decoded side by side."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.__getitem__, indices))

    def at_epoch(self, number: int, seed: int) -> ImageSplit:
        """The split as a run of that seed sees it in that epoch."""
        return replace(self, epoch=number, seed=seed)

    def _cut(self, path: Path, random: np.random.Generator) -> Image.Image:
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: no image that can be read: {error}") from error
        box = _random_box(image.size, random) if self.crop else _middle_box(image.size)
        cut = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box, reducing_gap=3)
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < self.flip else cut


class ImageFolder:
    """Images in a folder for each class, as ImageNet's: each image is shown at all T steps.

    Folders ``train``, ``test`` (or ``val``) and perhaps ``validation``, each with folders of classes, give the splits;
    without them all images are divided by the options ``test`` and ``validation``. Nothing is cached.

    Args:
        root: the folder.
        steps: T.
        size: side of the square that is shown: the middle of an image, after its shorter side became 8/7 of that.
        crop: for training cut a random part out of each: 8 to 100 % of its area, 3:4 to 4:3.
        flip: for training exchange left and right so often.
        validation: share or number of the training images that are held out, where there is no such folder.
        test: share or number of all images that are held out first, where there is no such folder.
        seed: decides which.
        max_train: train with at most so many; the classes keep their shares.
        max_validation: validate with at most so many.
        max_test: test with at most so many.

    Raises:
        OptionError: if a value is out of its range.
        DataError: if there are no images.

    Source:
        Direct coding: Rathi and Roy 2021, DIET-SNN. Crops: Szegedy et al. 2015, Going deeper with convolutions.
    """

    origin = "root"

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        steps: int = 4,
        size: int = 224,
        crop: bool = True,
        flip: float = 0.5,
        validation: float | int = 0.1,
        test: float | int = 0.2,
        seed: int = 0,
        max_train: int | None = None,
        max_validation: int | None = None,
        max_test: int | None = None,
    ) -> None:
        check_whole(steps=steps, size=size)
        check_whole(0, seed=seed)
        check_flag(crop=crop)
        check_between(0, 1, flip=flip)
        self._most = {"train": max_train, "validation": max_validation, "test": max_test}
        check_whole(**{f"max_{name}": count for name, count in self._most.items() if count is not None})
        self.steps, self.input_shape = steps, (3, size, size)
        self._size, self._crop, self._flip, self._seed = size, crop, flip, seed
        self._held = {"validation": validation, "test": test}
        self.classes, self._parts = _find_images(root)

    def split(self, name: SplitName) -> ImageSplit:
        """The images of ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: if it is none of the three.
        """
        if name not in _NAMES:
            raise unknown_name("image_folder: split", name, _NAMES)
        paths = self._divide(name)
        most = self._most[name]
        paths = [paths[index] for index in limited([label for _, label in paths], most, self._seed)]
        if name != "train":
            return ImageSplit(paths, self._size, self.steps)
        return ImageSplit(paths, self._size, self.steps, self._crop, self._flip)

    def _divide(self, name: SplitName) -> Paths:
        if name in self._parts and (name != "train" or "validation" in self._parts):
            return self._parts[name]
        paths = self._parts["train"]
        for held_name in ("test", "validation"):
            if held_name in self._parts:
                continue
            rest, held = hold_out([label for _, label in paths], self._held[held_name], self._seed)
            if name == held_name:
                return [paths[index] for index in held]
            paths = [paths[index] for index in rest]
        return paths


def _find_images(root: str | Path | None) -> tuple[tuple[str, ...], dict[SplitName, Paths]]:
    if root is None:
        raise DataError("image_folder: give root, a folder with a folder of images for each class")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise NoRecordingsError(f"image_folder: no folder {folder}")
    places = {
        part: next((folder / name for name in names if (folder / name).is_dir()), None)
        for part, names in _NAMES.items()
    }
    found = {part: place for part, place in places.items() if place is not None}
    if not {"train", "test"} <= found.keys():
        found = {"train": folder}
    images = {part: _images(place) for part, place in found.items()}
    classes = tuple(sorted({name for listed in images.values() for _, name in listed}))
    if not classes:
        raise NoRecordingsError(f"image_folder: {folder} holds no folders of classes with images")
    index = {name: label for label, name in enumerate(classes)}
    return classes, {part: [(path, index[name]) for path, name in listed] for part, listed in images.items()}


def _images(folder: Path) -> list[tuple[Path, str]]:
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    return [(path, path.parent.name) for path in paths]


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
