"""Checks of option values, for plugins: one line that names the option, its value and what it may be.

Types are checked too, since a configuration may say ``"false"``, which Python takes for true. Whoever
builds the plugin puts its name before the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from quietspike.core.errors import OptionError


def check_whole(least: int = 1, **options: int) -> None:
    """Refuse what is not a whole number of at least ``least``.

    >>> check_whole(epochs=2.5)
    Traceback (most recent call last):
    quietspike.core.errors.OptionError: epochs=2.5: must be a whole number of at least 1
    """
    for option, value in options.items():
        if not _is_whole(value, least):
            raise OptionError(f"{option}={value!r}: must be a whole number of at least {least}")


def check_wholes(count: int | None = None, **options: Sequence[int]) -> None:
    """Refuse what is not a list of whole numbers of at least 1, ``count`` of them where that is given."""
    for option, value in options.items():
        if not _is_list(value, count) or not all(_is_whole(number, 1) for number in value):
            many = "whole numbers" if count is None else f"{count} whole numbers"
            raise OptionError(f"{option}={value!r}: must be a list of {many} of at least 1")


def check_rate(**options: float) -> None:
    """Refuse what is not a number from 0 to below 1, as a dropout must be."""
    for option, value in options.items():
        if not (_is_finite(value) and 0 <= value < 1):
            raise OptionError(f"{option}={value!r}: must be a number from 0 to below 1")


def check_rates(count: int, **options: Sequence[float]) -> None:
    """Refuse what is not a list of ``count`` numbers from 0 to below 1."""
    for option, value in options.items():
        if not _is_list(value, count) or not all(_is_finite(number) and 0 <= number < 1 for number in value):
            raise OptionError(f"{option}={value!r}: must be a list of {count} numbers from 0 to below 1")


def check_shape(*, input_shape: Sequence[int], steps: int, classes: int) -> None:
    """Refuse what no backbone can be built for."""
    check_wholes(3, input_shape=input_shape)
    check_whole(steps=steps, classes=classes)


def check_frames(frames: Tensor, *, input_shape: Sequence[int], steps: int) -> None:
    """Refuse frames that are not those a backbone was built for, as [B, T, C, H, W].

    >>> import torch
    >>> check_frames(torch.zeros(4, 16, 2, 8, 8), input_shape=(2, 8, 8), steps=16)
    Traceback (most recent call last):
    quietspike.core.errors.OptionError: frames=[4, 16, 2, 8, 8]: must be [T, B, C, H, W] = [16, B, 2, 8, 8]
    """
    shape = frames.shape
    if len(shape) != 5 or shape[0] != steps or tuple(shape[2:]) != tuple(input_shape):
        expected = ", ".join(map(str, (steps, "B", *input_shape)))
        raise OptionError(f"frames={list(shape)}: must be [T, B, C, H, W] = [{expected}]")


def check_positive(**options: float) -> None:
    """Refuse what is not a finite number above 0."""
    for option, value in options.items():
        if not (_is_finite(value) and value > 0):
            raise OptionError(f"{option}={value!r}: must be a positive number")


def check_between(low: float = -math.inf, high: float = math.inf, **options: float) -> None:
    """Refuse what is not a finite number with low <= value <= high."""
    for option, value in options.items():
        if not (_is_finite(value) and low <= value <= high):
            bounds = "" if math.isinf(high) and math.isinf(low) else f" from {low:g} to {high:g}"
            bounds = f" of at least {low:g}" if math.isinf(high) and math.isfinite(low) else bounds
            raise OptionError(f"{option}={value!r}: must be a finite number{bounds}")


def check_flag(**options: bool) -> None:
    """Refuse what is neither true nor false."""
    for option, value in options.items():
        if not isinstance(value, bool):
            raise OptionError(f"{option}={value!r}: must be true or false")


def _is_list(value: Any, count: int | None) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and count in (None, len(value))


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
