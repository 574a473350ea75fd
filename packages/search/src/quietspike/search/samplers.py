"""Optuna's samplers, as a search uses them."""

from __future__ import annotations

from collections.abc import Callable

from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from quietspike.core.seeds import derive_seed
from quietspike.search.aspects import Map
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.placement_sampler import PlacementSampler


def new_sampler(
    experiment: Experiment, number: int, designs: Map, design_of: Callable[[FrozenTrial], Design]
) -> BaseSampler:
    """The experiment's sampler for an attempt of that number, whose seed does not depend on what came before.

    Args:
        experiment: which sampler, and its seed.
        number: of the attempt.
        designs: of the search's space.
        design_of: of a trial that has all its parameters.
    """
    seed = derive_seed(experiment.seed, "sampler", number) % 2**32
    match experiment.search.sampler:
        case "tpe":
            return TPESampler(seed=seed)
        case "nsga2":
            return _OrderedNSGAII(population_size=experiment.search.population, seed=seed)
        case "gp":
            return PlacementSampler(designs, design_of, seed)
        case _:
            return RandomSampler(seed=seed)


class _OrderedNSGAII(NSGAIISampler):
    """NSGA-II whose parents always come in the order of their trials.

    Optuna gives them in the order of selection when it selects a generation's parents and in the order of trials ever
    after: whether a claim was interrupted in between would show.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)
