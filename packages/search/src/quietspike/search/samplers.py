"""Optuna's samplers, as a search uses them, and our own."""

from __future__ import annotations

from collections.abc import Callable

from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from quietspike.core.seeds import derive_seed
from quietspike.search.aspects import Map
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.evolution import Evolution, Generations
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
        self._generations = Generations()

    def new(self, number: int) -> BaseSampler:
        """The sampler for an attempt of that number, whose seed does not depend on what came before."""
        seed = derive_seed(self._experiment.seed, "sampler", number) % 2**32
        match self._experiment.search.sampler:
            case "tpe":
                return TPESampler(seed=seed)
            case "nsga2":
                return Evolution(self._generations, self._experiment.search.population, seed)
            case "gp":
                return PlacementSampler(self._map, self._design_of, seed)
            case _:
                return RandomSampler(seed=seed)
