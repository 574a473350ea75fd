"""What a search is after: the accuracy, the costs that are minimised beside it, and the bounds that must hold."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from quietspike.core import OptionError
from quietspike.core.errors import unknown_name

REFERENCE_COSTS = {
    "spikes": 1e6,
    "energy": 1e3,
    "synaptic_operations": 1e9,
    "parameters": 1e9,
    "latency": 1e3,
}
"""More of each, in its unit, than a network that one would search."""

FIGURES = ("accuracy", *REFERENCE_COSTS)
"""What may be an objective, and what may be bounded."""

MOST_DECADES = 9
"""Of a cost below what it is compared with; a network that never spikes would otherwise be infinitely good."""

LESS = {"energy": "less", "latency": "less"}
"""Of all others there are fewer."""


@dataclass(frozen=True)
class Constraint:
    """A bound on a figure.

    >>> few = Constraint.parse("spikes <= 20000")
    >>> few.violation(25000), few.violation(10000), few.text
    (0.25, -0.5, 'spikes <= 20000')

    Args:
        figure: one of ``FIGURES``.
        most: whether the bound is the largest allowed; else the smallest.
        bound: the accuracy as a share, a cost in its unit.
    """

    figure: str
    most: bool
    bound: float

    @classmethod
    def parse(cls, text: object) -> Constraint:
        """From text such as ``accuracy >= 0.95``.

        Raises:
            OptionError: if it reads otherwise, or with a bound that the figure never has.
            UnknownNameError: for a figure that there is not.
        """
        found = re.fullmatch(r"\s*([^\s<>=]+)\s*(<=|>=)\s*(\S+)\s*", text) if isinstance(text, str) else None
        if found is None:
            raise OptionError(f"{text!r}: must read as 'spikes <= 20000' or 'accuracy >= 0.95'")
        name, sign, number = found.groups()
        if name not in FIGURES:
            raise unknown_name("search.constraints", name, FIGURES)
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not math.isfinite(bound) or bound < 0:
            raise OptionError(f"{text!r}: {number!r} is no number of at least 0")
        if name == "accuracy" and bound > 1:
            raise OptionError(f"{text!r}: the accuracy lies between 0 and 1")
        return cls(name, sign == "<=", bound)

    @property
    def text(self) -> str:
        """As it was written, but for spaces."""
        return f"{self.figure} {'<=' if self.most else '>='} {self.bound:.15g}"

    def violation(self, value: float) -> float:
        """By which share of the bound a value is beyond it; 0 or less where it holds.

        In shares, since samplers add the violations of several bounds.
        """
        beyond = value - self.bound if self.most else self.bound - value
        return beyond / self.bound if self.bound else beyond


@dataclass(frozen=True)
class Goals:
    """What is better, and what will do.

    Args:
        costs: what is minimised beside the error; the first is that of plots and progress.
        reference: the accuracy and costs that a point must better to count in the hypervolume; usual ones where empty.
        constraints: what must hold.
    """

    costs: tuple[str, ...] = ("spikes",)
    reference: tuple[float, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    @property
    def objective(self) -> str:
        """The first cost."""
        return self.costs[0]

    @property
    def figures(self) -> tuple[str, ...]:
        """All objectives: the accuracy, then the costs."""
        return ("accuracy", *self.costs)

    @property
    def corner(self) -> tuple[float, ...]:
        """``reference``, or the usual one."""
        return self.reference or (0.0, *(REFERENCE_COSTS[cost] for cost in self.costs))

    def point(self, figure: Callable[[str], float]) -> tuple[float, ...]:
        """The values of all objectives.

        Args:
            figure: gives a figure by name, as ``Outcome.value`` and ``Confirmation.mean`` do.
        """
        return tuple(figure(name) for name in self.figures)

    def covers(self, ours: Callable[[str], float], theirs: Callable[[str], float]) -> bool:
        """Whether ours is no worse in any objective."""
        one, other = self.point(ours), self.point(theirs)
        return one[0] >= other[0] and all(a <= b for a, b in zip(one[1:], other[1:], strict=True))

    def violations(self, figure: Callable[[str], float]) -> dict[str, float]:
        """By each constraint's text, by how much it is violated; 0 or less where it holds."""
        return {bound.text: bound.violation(figure(bound.figure)) for bound in self.constraints}

    def violation(self, figure: Callable[[str], float]) -> float:
        """The sum of what is violated; 0 where all constraints hold."""
        return sum(value for value in self.violations(figure).values() if value > 0)

    def feasible(self, figure: Callable[[str], float]) -> bool:
        """Whether all constraints hold."""
        return all(value <= 0 for value in self.violations(figure).values())


def check_objectives(names: Iterable[str]) -> tuple[str, ...]:
    """Objectives in their canonical order: the accuracy first.

    Raises:
        OptionError: unless they are the accuracy and at least one cost, each once.
        UnknownNameError: for one that there is not.
    """
    names = tuple(names)
    for name in names:
        if name not in FIGURES:
            raise unknown_name("search.objectives", name, FIGURES)
        if names.count(name) > 1:
            raise OptionError(f"{name!r} comes twice")
    if "accuracy" not in names:  # the least spikes of all are those of a network that says nothing
        raise OptionError("accuracy is missing; a bound for it goes to search.constraints")
    if len(names) < 2:
        raise OptionError(f"a cost is missing beside accuracy; there are: {', '.join(REFERENCE_COSTS)}")
    return ("accuracy", *(name for name in names if name != "accuracy"))


def check_constraints(texts: Iterable[object]) -> list[Constraint]:
    """Constraints from text.

    Raises:
        OptionError: if one reads otherwise, or no value can meet two of them.
        UnknownNameError: for a figure that there is not.
    """
    bounds = [Constraint.parse(text) for text in texts]
    for most, least in itertools.product(bounds, bounds):
        if most.figure == least.figure and most.most and not least.most and most.bound < least.bound:
            raise OptionError(f"{most.text} and {least.text}: nothing meets both")
    return bounds
