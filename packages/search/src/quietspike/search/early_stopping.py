"""Early stopping on several objectives: the rungs, who goes on from one, and what the sampler is told of who does not.

Everything here is pure; ``rung.py`` and ``study.py`` keep what was seen and decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quietspike.search.goals import MOST_DECADES

Direction = Literal["maximize", "minimize"]
Values = Mapping[str, float | None]
"""By objective, as measured after an epoch; ``None`` for what was not finite."""


def find_rungs(epochs: int, min_epochs: int, reduction: int) -> tuple[int, ...]:
    """The epochs after which a trial is compared, each ``reduction`` times as late as the one before.

    >>> find_rungs(30, 1, 3)
    (1, 3, 9, 27)
    """
    rungs = []
    rung = min_epochs
    while rung < epochs:
        rungs.append(rung)
        rung *= reduction
    return tuple(rungs)


def is_foremost(own: Values, others: Sequence[Values], directions: Mapping[str, Direction], reduction: int) -> bool:
    """Whether a trial is within the first 1/``reduction`` of those that have reached its rung, and so goes on.

    They are ranked front by front (non-dominated sorting), within a front by crowding distance, costs by decades, and
    of equals the first comes first. Who was not measured in finite numbers comes last. One always goes on: the first
    at a rung, and whoever dominates all others there.

    Args:
        own: of the trial that has just arrived.
        others: of those that were there before, whether they went on or not.
        directions: of each objective.
        reduction: of how many one goes on.

    Source:
        Schmucker et al. 2021, Multi-objective Asynchronous Successive Halving (arXiv:2106.12639), with the ranking of
        Deb et al. 2002, NSGA-II, section III. Differs: a trial is stopped or goes on as it arrives, and is never paused
        and promoted later (the stopping variant, as in Ray's ASHA and Syne Tune's MOASHA), so that a training is one
        piece; both ends of a front are equally far ahead, so that neither objective's best is stopped for the other's.
    """
    everyone = [*others, own]
    points, firsts, places, counts = np.unique(
        np.array([_losses(values, directions) for values in everyone]),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    mine = places.reshape(-1)[-1]
    admitted = max(1, len(everyone) // reduction)
    left, ahead = np.arange(len(points)), 0
    while ahead < admitted:
        front = _first_front(points, left)
        if mine in front:
            distinct = [everyone[firsts[index]] for index in front]
            crowding = crowding_distances(np.array([_scaled(one, distinct, directions) for one in distinct]))
            roomier = front[crowding > crowding[front == mine]]
            return ahead + int(counts[roomier].sum()) + int(counts[mine]) - 1 < admitted  # its equals came before it
        ahead += int(counts[front].sum())
        left = np.setdiff1d(left, front)
    return False


def _first_front(points: NDArray[np.float64], left: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the points left that no other dominates; points are distinct, in lexicographic order."""
    front = []
    while len(left):  # what comes first dominates whatever is better in nothing, and nothing dominates it
        front.append(left[0])
        left = left[np.any(points[left] < points[left[0]], axis=1)]
    return np.array(front)


def crowding_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much room each of a front's points has between its neighbours; infinite at the ends.

    Shape:
        [N, objectives], no two alike → [N].

    Source:
        Deb et al. 2002, NSGA-II, crowding-distance-assignment. An objective that is the same for all tells nothing.
    """
    distances = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        if len(points) > 1 and span > 0:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
            distances[order[[0, -1]]] = np.inf
    return distances


def expect_values(
    stopped: Values, finished: Sequence[tuple[Values, Values]], directions: Mapping[str, Direction]
) -> dict[str, float] | None:
    """What a stopped trial would have come to: its values, and the mean change of those that ran on to the end.

    Costs change by a factor. No objective is expected to be better than the best that was reached. Whether a trial was
    stopped early or late changes how exact this is, not what it is of.

    Args:
        stopped: at the rung where it was stopped.
        finished: at that rung and at the end, of each that ran on to the end.
        directions: of each objective.

    Returns:
        By objective; ``None`` where nothing finite is known.
    """
    expected = {}
    for name, direction in directions.items():
        own = stopped[name]
        pairs = [(early[name], late[name]) for early, late in finished]
        known = [(early, late) for early, late in pairs if early is not None and late is not None]
        if own is None or not known:
            return None
        ends = [late for _, late in known]
        if direction == "maximize":
            expected[name] = min(own + float(np.mean([late - early for early, late in known])), max(ends))
        else:
            decades = [math.log10(late / early) for early, late in known if early > 0 and late > 0]
            expected[name] = max(own * 10 ** float(np.mean(decades or [0.0])), min(ends))
    return expected


def _losses(values: Values, directions: Mapping[str, Direction]) -> list[float]:
    """Smaller is better."""
    losses = []
    for name, direction in directions.items():
        value = values[name]
        if value is None or not math.isfinite(value):
            return [math.inf] * len(directions)
        losses.append(value if direction == "minimize" else -value)
    return losses


def _scaled(values: Values, front: Sequence[Values], directions: Mapping[str, Direction]) -> list[float]:
    """As distances are measured, and the hypervolume: costs in decades, however little they are."""
    scaled = []
    for name, direction in directions.items():
        value, most = values[name] or 0.0, max(other[name] or 0.0 for other in front)
        if direction == "minimize":
            value = math.log10(max(value / most, 10.0**-MOST_DECADES)) if most > 0 else 0.0
        scaled.append(value)
    return scaled
