"""Whether one placement is better than another, seed by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from quietspike.search.goals import Goals
from quietspike.search.results import Confirmation, paired


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences and its 95 % confidence interval (Student's t, n - 1 degrees of freedom)."""

    mean: float
    low: float
    high: float


def paired_difference(ours: Confirmation, theirs: Confirmation, name: str) -> Difference | None:
    """The difference, ours less theirs, over the seeds that both have; ``None`` for fewer than two.

    >>> from quietspike.core import Placement
    >>> from quietspike.search.results import Outcome
    >>> one = Confirmation(Placement(), {seed: Outcome(a) for seed, a in enumerate((0.9, 0.8, 0.9))})
    >>> two = Confirmation(Placement(), {seed: Outcome(a) for seed, a in enumerate((0.8, 0.8, 0.8))})
    >>> d = paired_difference(one, two, "accuracy")
    >>> f"{d.mean:.3f} {d.low:.3f} {d.high:.3f}"
    '0.067 -0.077 0.210'
    """
    ours, theirs = paired(ours, theirs)
    differences = np.subtract(ours.values(name), theirs.values(name))
    count = len(differences)
    if count < 2:
        return None
    mean = float(differences.mean())
    margin = float(stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / math.sqrt(count))
    return Difference(mean, mean - margin, mean + margin)


def clearly_dominates(ours: Confirmation, theirs: Confirmation, goals: Goals) -> bool:
    """Whether ours is better in each objective, and the interval of each paired difference lies on that side."""
    differences = {name: paired_difference(ours, theirs, name) for name in goals.figures}
    return all(
        difference is not None and (difference.low > 0 if name == "accuracy" else difference.high < 0)
        for name, difference in differences.items()
    )
