"""A rung as the journal knows it: what each design had there, and whether it went on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from quietspike.search.design import Design
from quietspike.search.early_stopping import Direction, Values, expect_values, is_foremost
from quietspike.search.results import TrialResult


@dataclass(frozen=True)
class Visit:
    """What a trial had when it came to a rung, and what was decided."""

    values: Values
    goes_on: bool


@dataclass(frozen=True)
class Rung:
    """One rung.

    Args:
        objectives: what trials are compared by.
        figures: these, and what constraints are about: all that is kept of a trial.
        visits: of all designs that have come to it, those included whose trial was lost afterwards.
    """

    objectives: Collection[str]
    figures: Collection[str]
    visits: Mapping[Design, Visit]

    def admit(self, values: Mapping[str, float], reduction: int) -> Visit:
        """The visit of a design that comes now."""
        own = {name: values[name] if math.isfinite(values[name]) else None for name in sorted(self.figures)}
        others = [visit.values for visit in self.visits.values()]
        return Visit(own, is_foremost(own, others, directions_of(self.objectives), reduction))

    def expect(self, design: Design, results: Sequence[TrialResult]) -> dict[str, float] | None:
        """The figures that a design which was stopped here would have come to, as far as those tell that ran on."""
        ended = [(self.visits[r.design].values, r.outcome) for r in results if r.design in self.visits]
        finished = [(early, {n: late.value(n) for n in self.figures}) for early, late in ended if late.complete]
        return expect_values(self.visits[design].values, finished, directions_of(self.figures))


def directions_of(figures: Collection[str]) -> dict[str, Direction]:
    """All but the accuracy are costs."""
    return {name: "maximize" if name == "accuracy" else "minimize" for name in figures}
