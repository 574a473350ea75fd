"""Optuna's samplers, as a search uses them, and our own."""

from __future__ import annotations

from collections.abc import Callable

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial

from quietspike.core.seeds import derive_seed
from quietspike.search.aspects import Map
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.placement_sampler import PlacementSampler
from quietspike.search.space import Space


class Samplers:
    """Gives each claim of a study a sampler of its own, and keeps what all of them would find out anew.

    Args:
        experiment: which sampler, and its seed.
        space: what is sampled.
        design_of: of a trial that has all its parameters.
    """

    def __init__(self, experiment: Experiment, space: Space, design_of: Callable[[FrozenTrial], Design]) -> None:
        self._experiment = experiment
        self._map = Map(space, experiment.seed)
        self._design_of = design_of
        self._shared = IntersectionSearchSpace()

    def new(self, number: int) -> BaseSampler:
        """The sampler for an attempt of that number, whose seed does not depend on what came before."""
        seed = derive_seed(self._experiment.seed, "sampler", number) % 2**32
        match self._experiment.search.sampler:
            case "tpe":
                return TPESampler(seed=seed)
            case "nsga2":
                return _OrderedNSGAII(self._shared, self._experiment.search.population, seed)
            case "gp":
                return PlacementSampler(self._map, self._design_of, seed)
            case _:
                return RandomSampler(seed=seed)


class _OrderedNSGAII(NSGAIISampler):
    """NSGA-II whose parents always come in the order of their trials.

    Optuna gives them in the order of selection when it selects a generation's parents and in the order of trials ever
    after: whether a claim was interrupted in between would show.

    Args:
        shared: the parameters that all trials have, which a sampler of its own would look for in all of them.
        population: of a generation.
        seed: of crossover and mutation.
    """

    def __init__(self, shared: IntersectionSearchSpace, population: int, seed: int) -> None:
        super().__init__(population_size=population, seed=seed)
        self._known = shared

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: kind for name, kind in self._known.calculate(study).items() if not kind.single()}

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)
