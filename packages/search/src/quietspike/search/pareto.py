"""Several objectives at once: the front of non-dominated designs and the volume that it dominates."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence

import numpy as np
from optuna._hypervolume import compute_hypervolume

from quietspike.search.goals import MOST_DECADES, Goals
from quietspike.search.results import Confirmation, TrialResult, paired


def find_front(trials: Iterable[TrialResult], goals: Goals) -> list[TrialResult]:
    """The complete and feasible trials that no other such trial dominates, by rising cost; of equals the first."""
    done = [t for t in trials if t.outcome.complete and goals.feasible(t.outcome.value)]
    front: list[TrialResult] = []
    for trial in sorted(done, key=lambda t: _rank(t, goals)):  # behind all that could dominate it
        if not any(goals.covers(other.outcome.value, trial.outcome.value) for other in reversed(front)):
            front.append(trial)
    return front


def _rank(trial: TrialResult, goals: Goals) -> tuple[float, ...]:
    accuracy, *costs = goals.point(trial.outcome.value)
    return (*costs, -accuracy, trial.number)


def least_violating(trials: Iterable[TrialResult], goals: Goals) -> TrialResult | None:
    """The trial that is nearest to meeting the constraints; ``None`` where none is complete."""
    done = [trial for trial in trials if trial.outcome.complete]
    return min(done, key=lambda t: (goals.violation(t.outcome.value), *_rank(t, goals)), default=None)


def hypervolume(points: Iterable[Sequence[float]], reference: Sequence[float]) -> float:
    """What points (accuracy, cost, ...) dominate, in accuracy × decades of each cost, up to the reference.

    >>> round(hypervolume([(0.5, 1e3), (0.9, 1e4)], (0.0, 1e6)), 3)
    2.3
    """
    points = list(points)
    if len(reference) == 2:
        return _area([(accuracy, cost) for accuracy, cost in points], (reference[0], reference[1]))
    gains = [(accuracy - reference[0], *map(_decades_below, costs, reference[1:])) for accuracy, *costs in points]
    losses = np.array([[-gain for gain in gained] for gained in gains if min(gained) > 0])
    return float(compute_hypervolume(losses, np.zeros(len(reference)))) if len(losses) else 0.0


def _area(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    area, best = 0.0, reference[0]
    points_by_decade = sorted((_decades_below(cost, reference[1]), accuracy) for accuracy, cost in points)
    for decade, accuracy in reversed(points_by_decade):
        if decade > 0 and accuracy > best:
            area += decade * (accuracy - best)
            best = accuracy
    return area


def _decades_below(cost: float, reference: float) -> float:
    return MOST_DECADES if cost <= 0 else min(math.log10(reference / cost), MOST_DECADES)


def most_telling(front: Sequence[TrialResult], goals: Goals, count: int) -> list[TrialResult]:
    """At most ``count`` of a front: those that together dominate most, the most telling first."""
    points = [goals.point(trial.outcome.value) for trial in front]
    chosen: list[int] = []

    def volume(indices: list[int]) -> float:
        return hypervolume([points[index] for index in indices], goals.corner)

    # gains only shrink as more is chosen, so one that was computed earlier is a bound, and few are computed anew
    bounds = [(-math.inf, index, -1) for index in range(len(front))]
    whole = 0.0
    while bounds and len(chosen) < count:
        loss, index, known = heapq.heappop(bounds)
        if known == len(chosen):
            chosen.append(index)
            whole -= loss
        else:
            heapq.heappush(bounds, (whole - volume([*chosen, index]), index, len(chosen)))
    return [front[index] for index in chosen]


def foremost(trials: Iterable[TrialResult], goals: Goals, count: int) -> list[TrialResult]:
    """The most telling ``count`` of the front and, where it holds fewer, of the fronts behind it; all are feasible.

    A trial has one seed, so a front is partly luck, and what it beats by little may be the better design.
    """
    chosen: list[TrialResult] = []
    left = list(trials)
    while len(chosen) < count and (front := find_front(left, goals)):
        chosen += most_telling(front, goals, count - len(chosen))
        numbers = {trial.number for trial in front}
        left = [trial for trial in left if trial.number not in numbers]
    return chosen


def dominates(ours: Confirmation, theirs: Confirmation, goals: Goals) -> bool:
    """Whether ours is no worse in each mean, over the seeds that both have, and better in one."""
    ours, theirs = paired(ours, theirs)
    return goals.covers(ours.mean, theirs.mean) and not goals.covers(theirs.mean, ours.mean)


def confirmed_front(confirmations: Sequence[Confirmation], goals: Goals) -> list[Confirmation]:
    """Those whose means are feasible and that no other such one dominates, by their means."""
    good = [c for c in confirmations if c.outcomes and goals.feasible(c.mean)]
    return [c for c in good if not any(dominates(other, c, goals) for other in good)]
