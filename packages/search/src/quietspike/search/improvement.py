"""How much a training is expected to add to the hypervolume, of two objectives or more; all are maximised here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

DRAWS, DIRECTIONS = 64, 128
"""Of the estimate for three objectives or more: of each design's values, and of the ways to look at the front."""


def expect_improvement(
    means: Array, deviations: Array, front: Array, reference: Array, errors: Sequence[bool], seed: int
) -> Array:
    """The expected gain in hypervolume of each design, up to a factor that is the same for all.

    Args:
        means: of what a training would measure, independently normal in each objective.
        deviations: of the same.
        front: points that have been found; those below the reference do not count.
        reference: the worst point that counts.
        errors: which objectives are an error's -log, for which the hypervolume has the error itself.
        seed: of the estimate that three objectives or more need.

    Shape:
        [M, objectives], [M, objectives], [N, objectives], [objectives], [objectives] → [M].
    """
    front = front[np.all(front > reference, axis=1)]
    if means.shape[1] == 2:
        return _exact(means, deviations, front, reference, errors)
    return _estimated(means, deviations, front, reference, errors, np.random.default_rng(seed))


def _exact(means: Array, deviations: Array, front: Array, reference: Array, errors: Sequence[bool]) -> Array:
    """Two objectives: a sum over the strips between the front's points, each a product of two integrals.

    Source:
        Emmerich, Yang & Deutz 2016, A multicriteria generalization of Bayesian global optimization, section 3
        (O(n log n)); here for maximisation.
    """
    steps = _staircase(front)
    lefts = [reference[0], *(first for first, _ in steps)]
    levels = [*(second for _, second in steps), reference[1]]
    width_over, height_over = (_expected_fall if error else _expected_excess for error in errors)
    beyond = [width_over(means[:, 0], deviations[:, 0], left) for left in lefts] + [np.zeros(len(means))]
    gain = np.zeros(len(means))
    for strip, level in enumerate(levels):
        width = beyond[strip] - beyond[strip + 1]
        gain += width * height_over(means[:, 1], deviations[:, 1], level)
    return gain


def _staircase(front: Array) -> list[tuple[float, float]]:
    """The points that no other dominates, by rising first objective."""
    steps: list[tuple[float, float]] = []
    for first, second in sorted(map(tuple, front), reverse=True):
        if not steps or second > steps[-1][1]:
            steps.append((first, second))
    return steps[::-1]


def _expected_excess(mean: Array, deviation: Array, over: float) -> Array:
    """E[max(Y - over, 0)] of a normal Y."""
    z = (mean - over) / deviation
    excess: Array = (mean - over) * ndtr(z) + deviation * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return excess


def _expected_fall(mean: Array, deviation: Array, over: float) -> Array:
    """E[max(exp(-over) - exp(-Y), 0)] of a normal Y: by how much an error falls below another."""
    z = (mean - over) / deviation
    fall: Array = math.exp(-over) * ndtr(z) - np.exp(0.5 * deviation * deviation - mean) * ndtr(z - deviation)
    return fall


def _estimated(
    means: Array,
    deviations: Array,
    front: Array,
    reference: Array,
    errors: Sequence[bool],
    generator: np.random.Generator,
) -> Array:
    """Any number of objectives: the gain of random scalarisations, whose mean is the hypervolume's up to a factor.

    Source:
        Zhang & Golovin 2020, Random Hypervolume Scalarizations (arXiv:2006.04655), lemma 5; the same draws for all
        designs, so that they can be compared.
    """
    count = means.shape[1]
    ways = np.abs(generator.normal(size=(DIRECTIONS, count)))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    draws = generator.normal(size=(DRAWS, count))

    def seen(points: Array) -> Array:
        """[N, objectives] → [N, directions]."""
        above = np.maximum(_unbent(points, errors) - _unbent(reference, errors), 0.0)
        least: Array = np.min(above[:, None, :] / ways[None], axis=2) ** count
        return least

    best = seen(front).max(axis=0) if len(front) else np.zeros(DIRECTIONS)
    gain = np.zeros(len(means))
    for draw in draws:
        gain += np.maximum(seen(means + deviations * draw) - best, 0.0).mean(axis=1)
    return gain / DRAWS


def _unbent(points: Array, errors: Sequence[bool]) -> Array:
    """As the hypervolume has them."""
    return np.where(errors, -np.exp(-points), points)
