"""A sampler that learns at which site which dimension of attention costs and gives what."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from quietspike.search.aspects import Map
from quietspike.search.design import Design
from quietspike.search.gaussian import GaussianProcess, Groups, Parameters
from quietspike.search.improvement import expect_improvement
from quietspike.search.ledger import was_claimed

Array = NDArray[np.float64]

START = 8
"""Trainings to the end of designs at random, before the first design that follows from others."""

MOST, FORGOTTEN = 512, 128
"""Known values that predictions are made from, the latest; and how many of the earliest are left out at once."""

LEAST_ERROR = 0.01
"""What is added to errors before their logarithm: one in a hundred and none are not far apart."""

LEAST_COST = 1e-9
"""A cost below it, as that of a network that never spikes, is not told from it."""


class PlacementSampler(BaseSampler):
    """Asks for the design that is expected to add most to the front's hypervolume.

    Gaussian processes predict the error (its logarithm), each cost (likewise), and by how much each constraint is
    violated, from which dimensions each site's attention weighs (``aspects.py``). The hypervolume is the search's own,
    in accuracy and decades of cost. Values that were expected of trials that were stopped early may be noisier than
    others; how much is learned. All designs are looked at, of a large space some at random and those that differ from
    the best in one parameter.

    Args:
        designs: of the space.
        design_of: of a trial that has all its parameters.
        seed: of what is drawn at random.

    Source:
        Bayesian optimisation by expected hypervolume improvement, as in Emmerich et al. 2016 (``improvement.py``), with
        the kernel of Oh et al. 2019 (``gaussian.py``); constraints by the probability that they hold, as in Gardner et
        al. 2014, Bayesian Optimization with Inequality Constraints, eq. 5. Differs: where other trials run, the gain of
        a design is less by its correlation with each of theirs.
    """

    def __init__(self, designs: Map, design_of: Callable[[FrozenTrial], Design], seed: int) -> None:
        self._map = designs
        self._design_of = design_of
        self._seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters of the space."""
        return self._map.space.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of the design to try next; with one thread, as the other cores train."""
        with _linear_algebra().limit(limits=1):
            return self._choose(study, trial, search_space)

    def _choose(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        generator = np.random.default_rng(self._seed)
        others = [t for t in study.get_trials(deepcopy=False) if was_claimed(t)]
        tried = {self._design_of(other) for other in others}
        known = [t for t in others if t.state == TrialState.COMPLETE and "repeats" not in t.user_attrs]
        ended = np.array([not _is_stopped(one) for one in known], dtype=bool)
        if ended.sum() < START:
            left = [design for design in self._map.designs if design not in tried] or self._map.designs
            return self._map.space.params(left[generator.integers(len(left))])
        values = _rising(np.array([one.values for one in known]), study.directions)
        good = np.array([all(bound <= 0 for bound in one.constraints.values()) for one in known])
        designs = [self._design_of(one) for one in known]
        asked = self._map.designs
        if self._map.space.size > len(asked):
            best = [design for design, own in zip(designs, values, strict=True) if _is_foremost(own, values[good])]
            asked = [*asked, *(near for design in best for near in self._map.neighbours(design, generator))]
        asked = [design for design in dict.fromkeys(asked) if design not in tried] or self._map.designs
        running = [self._design_of(t) for t in others if t.state == TrialState.RUNNING and t.number != trial.number]
        first = _first_used(len(known))
        models = _Models(self._map, designs[first:], (~ended[first:]).astype(np.intp), asked, running)
        gain = models.feasibility([one.constraints for one in known[first:]])
        if (good & ended).any():
            means, deviations = models.predict(values[first:])
            reference = values.min(axis=0)
            errors = [direction == StudyDirection.MAXIMIZE for direction in study.directions]
            gain = gain * expect_improvement(means, deviations, values[good & ended], reference, errors, self._seed)
        return self._map.space.params(asked[int(np.argmax(gain * models.apart()))])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for: all parameters are sampled together."""
        raise NotImplementedError(f"{param_name} is no parameter of the space")


@cache
def _linear_algebra() -> ThreadpoolController:
    """Of numpy and scipy: on busy cores its threads wait for each other, which takes ten times as long."""
    return ThreadpoolController().select(user_api="blas")


class _Models:
    """What the known designs say of those that are asked for.

    Args:
        designs: of the space.
        known: whose values are known.
        groups: of the known, 0 where they were trained to the end, 1 where they were stopped.
        asked: whose values are asked for.
        running: whose values will be known soon.
    """

    def __init__(
        self,
        designs: Map,
        known: Sequence[Design],
        groups: Groups,
        asked: Sequence[Design],
        running: Sequence[Design],
    ) -> None:
        places, others = designs.locate(known), designs.locate(asked)
        self._within = designs.distances(places, places)
        self._across = designs.distances(others, places)
        self._running = designs.distances(others, designs.locate(running))
        self._groups = groups
        self._learned = designs.learned
        self._processes: list[GaussianProcess] = []

    def predict(self, values: Array) -> tuple[Array, Array]:
        """Means and deviations, [M, objectives], from values, [N, objectives]."""
        predicted = [self._predict_one(f"objective {number}", column) for number, column in enumerate(values.T)]
        means, deviations = zip(*predicted, strict=True)
        return np.stack(means, axis=1), np.stack(deviations, axis=1)

    def feasibility(self, violations: Sequence[Mapping[str, float]]) -> Array:
        """The probability that all constraints hold, [M]."""
        probability = np.ones(self._across.shape[1])
        for name in violations[0]:
            mean, deviation = self._predict_one(name, np.array([one[name] for one in violations]))
            probability = probability * ndtr(-mean / deviation)
        return probability

    def apart(self) -> Array:
        """Which share of a design's gain is not to be expected of those that run already, [M]."""
        share = np.ones(self._across.shape[1])
        for process in self._processes:
            share = share * (1 - process.correlations(self._running)).prod(axis=1)
        return share

    def _predict_one(self, name: str, values: Array) -> tuple[Array, Array]:
        """Mean and deviation of a value; how it varies is learned anew only after half as many again are known."""
        count = _settled(len(values))
        key = (name, count, values[:count].tobytes())
        if key not in self._learned:
            within = np.ascontiguousarray(self._within[:, :count, :count])  # bit for bit as when no more were known
            self._learned[key] = Parameters.likeliest(within, values[:count], self._groups[:count], kinds=2)
        process = GaussianProcess.given(self._learned[key], self._within, values, self._groups)
        self._processes.append(process)
        return process.predict(self._across)


def _first_used(count: int) -> int:
    """Which of so many known values is the first that predictions are made from.

    It stays the same for a while: with each other beginning, how values vary has to be learned anew.

    >>> [_first_used(count) for count in (8, 512, 513, 640, 641)]
    [0, 0, 128, 128, 256]
    """
    return max(0, math.ceil((count - MOST) / FORGOTTEN)) * FORGOTTEN


def _settled(count: int) -> int:
    """The greatest of 8, 12, 16, 24, 32, 48 … that is no greater.

    >>> [_settled(count) for count in (5, 8, 11, 12, 23, 100)]
    [5, 8, 8, 12, 16, 96]
    """
    if count < START:
        return count
    power = 1 << (count.bit_length() - 1)
    return power + power // 2 if count >= power + power // 2 else power


def _rising(values: Array, directions: Sequence[StudyDirection]) -> Array:
    """Objectives of which more is better, in logarithms: of the error where it is the accuracy, and of costs."""
    columns = [
        -np.log(np.maximum(1 - column, 0) + LEAST_ERROR)
        if direction == StudyDirection.MAXIMIZE
        else -np.log(np.maximum(column, LEAST_COST))
        for column, direction in zip(values.T, directions, strict=True)
    ]
    return np.stack(columns, axis=1)


def _is_foremost(own: Array, others: Array) -> bool:
    """Whether no other is better in one objective and no worse in the rest."""
    return not bool(np.any(np.all(others >= own, axis=1) & np.any(others > own, axis=1)))


def _is_stopped(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get("outcome", {}).get("stopped") is not None
