"""What every placement of a space gives, as far as a table tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quietspike.core import OptionError
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.pareto import hypervolume
from quietspike.search.space import Space
from quietspike.search.tabulation import Entry, Table


@dataclass(frozen=True)
class Truth:
    """What every placement of a space gives: the means over a table's seeds.

    Args:
        curves: by design, the accuracy and costs after each epoch.
        objective: the cost that is minimised.
        epochs: of a training.
    """

    curves: Mapping[Design, Sequence[Mapping[str, float]]]
    objective: str
    epochs: int

    @cached_property
    def reference(self) -> tuple[float, float]:
        """The worst accuracy and the worst cost of all placements."""
        ends = [self.end(design) for design in self.curves]
        return min(accuracy for accuracy, _ in ends), max(cost for _, cost in ends)

    @cached_property
    def area(self) -> float:
        """The hypervolume of all placements."""
        return hypervolume(map(self.end, self.curves), self.reference)

    @property
    def exhausting(self) -> int:
        """Epochs that it takes to train everything."""
        return len(self.curves) * self.epochs

    def end(self, design: Design) -> tuple[float, float]:
        """Accuracy and cost after the last epoch."""
        last = self.curves[design][-1]
        return last["accuracy"], last[self.objective]


def find_truth(table: Table, experiment: Experiment, space: Space) -> Truth:
    """The means of a table over what has several seeds.

    Raises:
        OptionError: if a placement of the space is not in the table, or failed with every seed.
    """
    designs = list(space.shuffled(0, int(space.size)))
    curves, lacking = {}, []
    for design in designs:
        entries = table.of(design.placement).values()
        ended = [entry for entry in entries if entry.outcome.reason is None]
        if ended:
            curves[design] = _mean_curve(ended)
        else:
            why = next((f"failed with {entry.outcome.reason}" for entry in entries), "is missing")
            lacking.append(f"{design.label} {why}")
    if lacking:
        held = f"holds {len(curves)} of {len(designs)} placements; {lacking[0]}"
        raise OptionError(f"search.table: {experiment.search.table}: {held}")
    return Truth(curves, experiment.search.objective, experiment.train.epochs)


def _mean_curve(entries: Sequence[Entry]) -> list[dict[str, float]]:
    """Accuracy and costs after each epoch, means over seeds."""
    names = ("accuracy", *entries[0].outcome.totals)
    curves = [entry.outcome.curve for entry in entries]
    return [
        {name: float(np.mean([curve[name][epoch] for curve in curves])) for name in names}
        for epoch in range(entries[0].epochs)
    ]
