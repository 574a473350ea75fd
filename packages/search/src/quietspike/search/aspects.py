"""In what designs differ: which dimensions each site's attention weighs, and each setting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from quietspike.search.design import Design
from quietspike.search.gaussian import Parameters
from quietspike.search.space import Space

Array = NDArray[np.float64]

ENUMERATED = 2048
"""A space of at most so many designs is looked at as a whole."""

DIMENSIONS = re.compile(r"(t?)(c?)(s?)a")
"""The names of MA-SNN's attention say which of time, channels and space it weighs."""


@dataclass(frozen=True)
class Aspect:
    """One thing in which designs may differ.

    Args:
        param: Optuna's parameter that decides it.
        place: where a value of the parameter lies in it.
        ordered: whether places are near or far; else they are the same or not.
    """

    param: str
    place: Callable[[Any], float]
    ordered: bool


@dataclass(frozen=True)
class Map:
    """Where each design of a space lies.

    Args:
        space: of the search.
        seed: of the order of its designs, and of what is looked at of one that is too large to be looked at as a whole.
    """

    space: Space
    seed: int

    @cached_property
    def aspects(self) -> list[Aspect]:
        """All in which designs of the space differ."""
        return [aspect for name, kind in self.space.distributions.items() for aspect in find_aspects(name, kind)]

    @cached_property
    def designs(self) -> list[Design]:
        """All designs, or as many at random as are looked at."""
        return list(self.space.shuffled(self.seed, int(min(self.space.size, ENUMERATED))))

    @cached_property
    def places(self) -> dict[Design, Array]:
        """Of each design that has been asked for."""
        return {}

    @cached_property
    def learned(self) -> dict[tuple[str, int, bytes], Parameters]:
        """How values vary, by their name, how many were known, and those values."""
        return {}

    @cached_property
    def known_neighbours(self) -> dict[Design, tuple[Design, ...]]:
        """Of each design that was asked for, where nothing is drawn for them."""
        return {}

    def locate(self, designs: Sequence[Design]) -> Array:
        """Where designs lie.

        Shape:
            [N, aspects].
        """
        for design in designs:
            if design not in self.places:
                params = self.space.params(design)
                self.places[design] = np.array([aspect.place(params[aspect.param]) for aspect in self.aspects])
        return np.array([self.places[design] for design in designs]).reshape(len(designs), len(self.aspects))

    def distances(self, left: Array, right: Array) -> Array:
        """How far apart designs are in each aspect, 0 to 1.

        Shape:
            [M, aspects], [N, aspects] → [aspects, M, N].
        """
        distances = np.empty((len(self.aspects), len(left), len(right)))
        for aspect, ours, theirs, apart in zip(self.aspects, left.T, right.T, distances, strict=True):
            if aspect.ordered:
                np.abs(ours[:, None] - theirs, out=apart)
            else:
                np.not_equal(ours[:, None], theirs, out=apart)
        return distances

    def neighbours(self, design: Design, generator: np.random.Generator) -> tuple[Design, ...]:
        """The designs that differ in one parameter; of a range of numbers, one anywhere in it."""
        if any(aspect.ordered for aspect in self.aspects):
            return self._find_neighbours(design, generator)
        if design not in self.known_neighbours:
            self.known_neighbours[design] = self._find_neighbours(design, generator)
        return self.known_neighbours[design]

    def _find_neighbours(self, design: Design, generator: np.random.Generator) -> tuple[Design, ...]:
        params = self.space.params(design)
        changed = [
            {**params, name: value}
            for name, kind in self.space.distributions.items()
            for value in _other_values(kind, params[name], generator)
        ]
        return tuple(dict.fromkeys(self.space.design(one) for one in changed))


def dimensions_of(label: str) -> tuple[bool, bool, bool]:
    """Whether a candidate weighs time, channels, space, as far as its name tells.

    >>> dimensions_of("tca(channel_reduction=4)"), dimensions_of("se")
    ((True, True, False), (False, False, False))
    """
    found = DIMENSIONS.fullmatch(label.partition("(")[0])
    time, channels, space = found.groups() if found else ("", "", "")
    return bool(time), bool(channels), bool(space)


def find_aspects(name: str, kind: BaseDistribution) -> list[Aspect]:
    """In what the values of a parameter differ."""
    if kind.single():
        return []
    if not isinstance(kind, CategoricalDistribution):
        return [Aspect(name, _scaled(kind), ordered=True)]
    weighed = {choice: dimensions_of(str(choice)) for choice in kind.choices}
    aspects = [
        Aspect(name, {choice: float(dims[at]) for choice, dims in weighed.items()}.__getitem__, ordered=False)
        for at in range(3)
        if len({dims[at] for dims in weighed.values()}) > 1
    ]
    if len(set(weighed.values())) < len(weighed):  # some differ in more than their dimensions
        aspects.append(Aspect(name, lambda value: float(kind.choices.index(value)), ordered=False))
    return aspects


def _scaled(kind: BaseDistribution) -> Callable[[Any], float]:
    """A number's place between the ends of its range, 0 to 1; by decades where the range is."""
    low, high, bend, _ = _range_of(kind)
    return lambda value: (bend(value) - low) / (high - low)


def _other_values(kind: BaseDistribution, value: Any, generator: np.random.Generator) -> list[Any]:
    if isinstance(kind, CategoricalDistribution):
        return [choice for choice in kind.choices if choice != value]
    low, high, _, back = _range_of(kind)
    drawn = back(generator.uniform(low, high))
    if isinstance(kind, IntDistribution | FloatDistribution) and kind.step:
        drawn = min(kind.low + round((drawn - kind.low) / kind.step) * kind.step, kind.high)
    return [kind.to_external_repr(drawn)]


def _range_of(kind: Any) -> tuple[float, float, Callable[[float], float], Callable[[float], float]]:
    """The ends of a range as differences count in it, and the ways there and back."""
    if not isinstance(kind, IntDistribution | FloatDistribution):
        raise TypeError(f"{kind}: is no range of numbers")
    bend, back = (math.log, math.exp) if kind.log else (float, float)
    return bend(kind.low), bend(kind.high), bend, back
