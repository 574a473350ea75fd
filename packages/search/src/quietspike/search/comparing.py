"""Samplers and early stopping compared on a table of every placement, without any training.

A method is simulated by what users run: the study's own claims and rungs, in memory, one trial after another. Its
budget is counted in epochs trained, those of stopped trials included; only what was trained to the end is on its front.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietspike.core import OptionError
from quietspike.search.config import EarlyStopping, Experiment, Sampler
from quietspike.search.design import Design
from quietspike.search.pareto import hypervolume
from quietspike.search.processes import begin_worker
from quietspike.search.results import Outcome
from quietspike.search.space import Space, open_space
from quietspike.search.study import SearchStudy
from quietspike.search.tabulation import read_table
from quietspike.search.truth import Truth, find_truth

EARLY = " + early stopping"
"""What the names of methods end with that stop trials early."""


class Method(NamedTuple):
    """A way to search.

    Args:
        sampler: ``search.sampler``.
        early: whether trials are stopped early, as the experiment's ``search.early_stopping`` or its default says.
    """

    sampler: Sampler
    early: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.sampler}{EARLY if self.early else ''}"


class Point(NamedTuple):
    """Where a search was when one more training had run to its end.

    Args:
        spent: epochs trained so far.
        area: hypervolume of all that had run to its end.
    """

    spent: int
    area: float


def simulate(truth: Truth, experiment: Experiment, space: Space, most: float = math.inf) -> list[Point]:
    """One search, up to where it has found all there is, or tried everything; one point for each training that ended.

    Args:
        truth: what trainings give.
        experiment: sampler, seed and early stopping.
        space: what is searched.
        most: epochs that are trained; the search ends behind them.
    """
    study = SearchStudy(experiment, space, None)
    points: list[Point] = []
    found: list[tuple[float, float]] = []
    spent, area = 0, 0.0
    while spent < most and (claim := study.claim()) is not None:
        curve = truth.curves[claim.design]
        trained = next(
            (epoch for epoch in experiment.rungs if not study.goes_on(claim, epoch, curve[epoch - 1])), truth.epochs
        )
        spent += trained
        values = curve[trained - 1]
        totals = {name: value for name, value in values.items() if name != "accuracy"}
        stopped = trained if trained < truth.epochs else None
        study.finish(claim, Outcome(values["accuracy"], totals, stopped=stopped))
        if stopped is None:
            found.append(truth.end(claim.design))
            area = max(area, hypervolume(found, truth.reference))
            points.append(Point(spent, area))
            if area >= truth.area * (1 - 1e-12):
                break
    return [*points, Point(max(spent, 1), area)]


def follow(truth: Truth, designs: Iterable[Design], spent: int = 0) -> list[Point]:
    """A search that trains designs to the end in a given order, as those that a supernet put forward.

    Args:
        truth: what trainings give.
        designs: the first to be trained first.
        spent: epochs that it took to find the order.
    """
    points: list[Point] = []
    found: list[tuple[float, float]] = []
    for design in dict.fromkeys(designs):
        spent += truth.epochs
        found.append(truth.end(design))
        points.append(Point(spent, hypervolume(found, truth.reference)))
    return points


@dataclass(frozen=True)
class Comparison:
    """What methods found, by their budget.

    Args:
        truth: of the space.
        runs: by the name of a method, its searches.
    """

    truth: Truth
    runs: Mapping[str, Sequence[Sequence[Point]]]

    def shares(self, name: str, budgets: Sequence[float]) -> NDArray[np.float64]:
        """The share of the whole hypervolume that each search had found by each budget, in epochs.

        Shape:
            [searches, budgets].
        """
        return np.array(
            [[_area_by(points, budget) / self.truth.area for budget in budgets] for points in self.runs[name]]
        )

    def budgets(self, name: str, share: float) -> NDArray[np.float64]:
        """The epochs that each search took to find a share of the hypervolume; infinite where it never did.

        Shape:
            [searches].
        """
        wanted = share * self.truth.area * (1 - 1e-12)
        return np.array(
            [next((float(p.spent) for p in points if p.area >= wanted), math.inf) for points in self.runs[name]]
        )

    def regrets(self, name: str, budget: float) -> NDArray[np.float64]:
        """The share of the hypervolume that each search had not found by a budget, in epochs.

        Shape:
            [searches].
        """
        return 1 - self.shares(name, [budget])[:, 0]


def _area_by(points: Sequence[Point], budget: float) -> float:
    return max((point.area for point in points if point.spent <= budget), default=0.0)


@dataclass(frozen=True)
class Bench:
    """An experiment whose whole truth is known.

    Args:
        experiment: what is searched.
        space: of the experiment.
        truth: what each placement gives.
        horizon: where searches end, as a share of the epochs that it takes to train everything.
    """

    experiment: Experiment
    space: Space
    truth: Truth
    horizon: float = 1.0

    @classmethod
    def open(cls, experiment: Experiment, horizon: float = 1.0) -> Bench:
        """From ``search.table``.

        Raises:
            QuietspikeError: if there is none, or it does not hold every placement of the space; or if more is sought
                than the accuracy and one cost.
        """
        path, goals = experiment.search.table, experiment.search.goals
        if len(goals.costs) > 1:
            raise OptionError(f"search.objectives: compared are accuracy and one cost, not {', '.join(goals.costs)}")
        if goals.constraints:
            raise OptionError(f"search.constraints: {goals.constraints[0].text}: what is compared has no bounds")
        if path is None:
            raise OptionError("search.table: missing; it names the table to compare on")
        space, table = open_space(experiment), read_table(path)
        table.check_part(experiment, space, path)
        return cls(experiment, space, find_truth(table, experiment, space), horizon)

    def simulate(self, method: Method, seed: int) -> list[Point]:
        """One search by a method."""
        own = self.experiment.search
        early = (own.early_stopping or EarlyStopping()) if method.early else None
        changed = {
            "strategy": "trials",
            "sampler": method.sampler,
            "early_stopping": early,
            "uniform_first": False,
            "trials": self.space.size,
        }
        search = own.model_copy(update=changed)
        experiment = self.experiment.model_copy(update={"seed": seed, "search": search})
        return simulate(self.truth, experiment, self.space, self.horizon * self.truth.exhausting)


def compare(
    bench: Bench, methods: Sequence[Method], seeds: int, workers: int = 1, done: Container[tuple[str, int]] = ()
) -> Iterator[tuple[Method, int, list[Point]]]:
    """Simulate each method with each seed; no method gets the uniform placements as a start.

    Args:
        bench: what is searched, and what trainings give.
        methods: what is compared.
        seeds: searches of each method.
        workers: processes.
        done: names of methods and seeds that are left out.

    Yields:
        Method, seed and search, seed by seed.
    """
    tasks = [(method, seed) for seed in range(seeds) for method in methods if (method.name, seed) not in done]
    with ProcessPoolExecutor(workers, get_context("spawn"), _take, (bench,)) as pool:
        for (method, seed), points in zip(tasks, pool.map(_simulate_taken, tasks), strict=True):
            yield method, seed, points


_taken: list[Bench] = []
"""What a process of ``compare`` was handed."""


def _take(bench: Bench) -> None:
    begin_worker(threads=1)
    _taken.append(bench)


def _simulate_taken(task: tuple[Method, int]) -> list[Point]:
    return _taken[-1].simulate(*task)
