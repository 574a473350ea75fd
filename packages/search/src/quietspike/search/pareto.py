"""Two objectives at once: the front of non-dominated placements and the area that it dominates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from quietspike.search.results import Confirmation, TrialResult, paired

MOST_DECADES = 9
"""Below the reference; a network that never spikes would otherwise be infinitely good."""


def find_front(trials: Iterable[TrialResult], objective: str) -> list[TrialResult]:
    """The complete trials that no other dominates, by rising cost; of equals the first."""
    done = [trial for trial in trials if trial.outcome.complete]
    front: list[TrialResult] = []
    for trial in sorted(done, key=lambda t: (t.outcome.totals[objective], -t.outcome.accuracy, t.number)):
        if not front or trial.outcome.accuracy > front[-1].outcome.accuracy:
            front.append(trial)
    return front


def hypervolume(points: Iterable[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The area that points (accuracy, cost) dominate, in accuracy × decades of cost, up to the reference.

    >>> round(hypervolume([(0.5, 1e3), (0.9, 1e4)], (0.0, 1e6)), 3)
    2.3
    """
    area, best = 0.0, reference[0]
    points_by_decade = sorted((_decades_below(cost, reference[1]), accuracy) for accuracy, cost in points)
    for decade, accuracy in reversed(points_by_decade):
        if decade > 0 and accuracy > best:
            area += decade * (accuracy - best)
            best = accuracy
    return area


def _decades_below(cost: float, reference: float) -> float:
    return MOST_DECADES if cost <= 0 else min(math.log10(reference / cost), MOST_DECADES)


def most_telling(
    front: Sequence[TrialResult], objective: str, reference: tuple[float, float], count: int
) -> list[TrialResult]:
    """At most ``count`` of a front: those that together dominate most, the most telling first."""
    chosen: list[TrialResult] = []

    def area(trials: list[TrialResult]) -> float:
        return hypervolume([(t.outcome.accuracy, t.outcome.totals[objective]) for t in trials], reference)

    left = list(front)
    while left and len(chosen) < count:
        best = max(left, key=lambda trial: area([*chosen, trial]))
        left.remove(best)
        chosen.append(best)
    return chosen


def foremost(
    trials: Iterable[TrialResult], objective: str, reference: tuple[float, float], count: int
) -> list[TrialResult]:
    """The most telling ``count`` of the front and, where it holds fewer, of the fronts behind it.

    A trial has one seed, so a front is partly luck, and what it beats by little may be the better placement.
    """
    chosen: list[TrialResult] = []
    left = list(trials)
    while len(chosen) < count and (front := find_front(left, objective)):
        chosen += most_telling(front, objective, reference, count - len(chosen))
        numbers = {trial.number for trial in front}
        left = [trial for trial in left if trial.number not in numbers]
    return chosen


def dominates(ours: Confirmation, theirs: Confirmation, objective: str) -> bool:
    """Whether ours is no worse in both means, over the seeds that both have, and better in one."""
    ours, theirs = paired(ours, theirs)
    gain = ours.mean("accuracy") - theirs.mean("accuracy")
    saving = theirs.mean(objective) - ours.mean(objective)
    return gain >= 0 and saving >= 0 and gain + saving > 0


def confirmed_front(confirmations: Sequence[Confirmation], objective: str) -> list[Confirmation]:
    """Those that no other dominates, by their means."""
    good = [c for c in confirmations if c.outcomes]
    return [c for c in good if not any(dominates(other, c, objective) for other in good)]
