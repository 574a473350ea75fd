"""Random order without repetition, and random values of settings, from Python's own generator."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from quietspike.search.setting import Setting


def shuffled_range(size: int, count: int, generator: random.Random) -> Iterator[int]:
    """The first ``count`` of a shuffled ``range(size)``: Fisher and Yates, storing only what was moved."""
    moved: dict[int, int] = {}
    for last in range(size - 1, size - 1 - count, -1):
        drawn = generator.randrange(last + 1)
        yield moved.get(drawn, drawn)
        moved[drawn] = moved.get(last, last)


def draw_value(setting: Setting, generator: random.Random) -> Any:
    """A value, each as likely; of a logarithmic range without a step, each order of magnitude."""
    if setting.values is not None:
        return generator.choice(setting.values)
    low, high = float(setting.low or 0), float(setting.high or 0)
    if setting.log:
        return setting.value(math.exp(generator.uniform(math.log(low), math.log(high))))
    return setting.value(generator.uniform(low, high))
