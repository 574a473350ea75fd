"""Optuna's NSGA-II, which looks at no trial that has ended more than once."""

from __future__ import annotations

from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

GENERATION = NSGAIISampler._get_generation_key()
"""The system attribute of a trial in which Optuna notes its generation."""


class Generations:
    """What the samplers of a study's claims would find out anew, each by looking at all trials.

    Attributes:
        parents: of each generation that has begun.
    """

    def __init__(self) -> None:
        self.parents: dict[int, list[FrozenTrial]] = {}
        self._space = IntersectionSearchSpace()
        self._ended: dict[int, list[FrozenTrial]] = {}
        self._count = 0

    def space(self, study: Study) -> dict[str, BaseDistribution]:
        """The parameters that all trials have."""
        return {name: kind for name, kind in self._space.calculate(study).items() if not kind.single()}

    def members(self, study: Study) -> dict[int, list[FrozenTrial]]:
        """The complete trials of each generation, in their order."""
        trials = study.get_trials(deepcopy=False)
        while self._count < len(trials) and trials[self._count].state.is_finished():
            _add(self._ended, trials[self._count])
            self._count += 1
        members = {generation: list(own) for generation, own in self._ended.items()}
        for trial in trials[self._count :]:
            _add(members, trial)
        return members


def _add(members: dict[int, list[FrozenTrial]], trial: FrozenTrial) -> None:
    generation = trial.system_attrs.get(GENERATION)
    if generation is not None and trial.state == TrialState.COMPLETE:
        members.setdefault(generation, []).append(trial)


class Evolution(NSGAIISampler):
    """NSGA-II whose parents always come in the order of their trials.

    Optuna gives them in the order of selection when it selects a generation's parents and in the order of trials ever
    after: whether a claim was interrupted in between would show.

    Args:
        known: what earlier samplers of the study have found out.
        population: of a generation.
        seed: of crossover and mutation.
    """

    def __init__(self, known: Generations, population: int, seed: int) -> None:
        super().__init__(population_size=population, seed=seed)
        self._known = known
        self._full = population

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters that can vary."""
        return self._known.space(study)

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """That of a trial; the last one, or the next where that is full."""
        own: int | None = trial.system_attrs.get(GENERATION)
        if own is not None:
            return own
        members = self._known.members(study)
        last = max(members, default=0)
        generation = last + (len(members.get(last, ())) >= self._full)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, generation)
        return generation

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The complete trials of a generation."""
        return self._known.members(study).get(generation, [])

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Its parents, which never change."""
        if generation not in self._known.parents:
            self._known.parents[generation] = super().get_parent_population(study, generation)
        return self._known.parents[generation]

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best of the generation before and of its parents, in the order of their trials."""
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)
