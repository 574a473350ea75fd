"""A rung as the journal knows it: what each placement had there, and whether it went on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quietspike.core import Placement
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
        directions: of each objective.
        visits: of all placements that have come to it, those included whose trial was lost afterwards.
    """

    directions: Mapping[str, Direction]
    visits: Mapping[Placement, Visit]

    def admit(self, values: Mapping[str, float], reduction: int) -> Visit:
        """The visit of a placement that comes now."""
        own = {name: values[name] if math.isfinite(values[name]) else None for name in self.directions}
        others = [visit.values for visit in self.visits.values()]
        return Visit(own, is_foremost(own, others, self.directions, reduction))

    def expect(self, placement: Placement, results: Sequence[TrialResult]) -> list[float] | None:
        """What a placement that was stopped here would have come to, as far as those tell that ran on to the end."""
        ended = [(self.visits[r.placement].values, r.outcome) for r in results if r.placement in self.visits]
        finished = [(early, {n: late.value(n) for n in self.directions}) for early, late in ended if late.complete]
        expected = expect_values(self.visits[placement].values, finished, self.directions)
        return None if expected is None else list(expected.values())
