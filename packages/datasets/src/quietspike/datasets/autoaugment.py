"""AutoAugment: changes of an image, drawn from the policy that was found on ImageNet."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Operation: TypeAlias = Callable[[Image.Image, int], Image.Image]
Step: TypeAlias = tuple[Operation, float, int]

_TOP = 9  # of the ten levels, where a range ends


def shear_x(image: Image.Image, level: int) -> Image.Image:
    """Shift each row by 0..0.3 of its distance from the upper edge: to the left, below 0 to the right."""
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0.3 * level / _TOP, 0, 0, 1, 0))


def rotate(image: Image.Image, level: int) -> Image.Image:
    """Turn by 0..30 degrees around the middle: to the left, below 0 to the right."""
    return image.rotate(30 * level / _TOP)


def posterize(image: Image.Image, level: int) -> Image.Image:
    """Keep the upper 8..4 bits of each value, rounded to whole ones."""
    return ImageOps.posterize(image, 8 - round(4 * level / _TOP))


def solarize(image: Image.Image, level: int) -> Image.Image:
    """Invert the values from 255..0 up."""
    return ImageOps.solarize(image, math.ceil(255 * (_TOP - level) / _TOP))


def color(image: Image.Image, level: int) -> Image.Image:
    """Multiply the distance from grey by 1 ± 0..0.9."""
    return ImageEnhance.Color(image).enhance(_factor(level))


def contrast(image: Image.Image, level: int) -> Image.Image:
    """Multiply the distance from the image's mean grey by 1 ± 0..0.9."""
    return ImageEnhance.Contrast(image).enhance(_factor(level))


def sharpness(image: Image.Image, level: int) -> Image.Image:
    """Multiply the distance from the smoothed image by 1 ± 0..0.9."""
    return ImageEnhance.Sharpness(image).enhance(_factor(level))


def autocontrast(image: Image.Image, _: int) -> Image.Image:
    """Stretch each channel's values to 0..255."""
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, _: int) -> Image.Image:
    """Make each channel's histogram even."""
    return ImageOps.equalize(image)


def invert(image: Image.Image, _: int) -> Image.Image:
    """Subtract each value from 255."""
    return ImageOps.invert(image)


SIGNED = frozenset({shear_x, rotate, color, contrast, sharpness})

# Each row is a sub-policy: two times an operation, its probability and its level.
POLICY: tuple[tuple[Step, Step], ...] = (
    ((posterize, 0.4, 8), (rotate, 0.6, 9)),
    ((solarize, 0.6, 5), (autocontrast, 0.6, 5)),
    ((equalize, 0.8, 8), (equalize, 0.6, 3)),
    ((posterize, 0.6, 7), (posterize, 0.6, 6)),
    ((equalize, 0.4, 7), (solarize, 0.2, 4)),
    ((equalize, 0.4, 4), (rotate, 0.8, 8)),
    ((solarize, 0.6, 3), (equalize, 0.6, 7)),
    ((posterize, 0.8, 5), (equalize, 1.0, 2)),
    ((rotate, 0.2, 3), (solarize, 0.6, 8)),
    ((equalize, 0.6, 8), (posterize, 0.4, 6)),
    ((rotate, 0.8, 8), (color, 0.4, 0)),
    ((rotate, 0.4, 9), (equalize, 0.6, 2)),
    ((equalize, 0.0, 7), (equalize, 0.8, 8)),
    ((invert, 0.6, 4), (equalize, 1.0, 8)),
    ((color, 0.6, 4), (contrast, 1.0, 8)),
    ((rotate, 0.8, 8), (color, 1.0, 2)),
    ((color, 0.8, 8), (solarize, 0.8, 7)),
    ((sharpness, 0.4, 7), (invert, 0.6, 8)),
    ((shear_x, 0.6, 5), (equalize, 1.0, 9)),
    ((color, 0.4, 0), (equalize, 0.6, 3)),
    ((equalize, 0.4, 7), (solarize, 0.2, 4)),
    ((solarize, 0.6, 5), (autocontrast, 0.6, 5)),
    ((invert, 0.6, 4), (equalize, 1.0, 8)),
    ((color, 0.6, 4), (contrast, 1.0, 8)),
    ((equalize, 0.8, 8), (equalize, 0.6, 3)),
)


def augment_image(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Apply a sub-policy that is drawn at even chances; each of its operations acts with its own probability.

    A level from 0 to 9 says how far along its range an operation is; with those that go both ways its sign is drawn.

    Args:
        image: in 8 bits of red, green and blue.
        random: draws everything.

    Source:
        Cubuk et al. 2019, AutoAugment: Learning Augmentation Policies from Data, Table 9. Differs: where the paper
        leaves it open, this is torchvision's default, with which MA-SNN was trained: the nearest pixel, black where
        there is none, shear from the upper edge, bits rounded, and solarize from 255 (the paper: 256). The authors'
        own code, for CIFAR-10, fills with the mean and has eleven levels.
    """
    for operation, probability, level in POLICY[random.integers(len(POLICY))]:
        if random.random() < probability:
            sign = -1 if operation in SIGNED and random.random() < 0.5 else 1
            image = operation(image, sign * level)
    return image


def _factor(level: int) -> float:
    return 1 + 0.9 * level / _TOP
