"""The journal of a search: which placements were tried, by whom, with what result.

It is an Optuna study in a JournalStorage file. Every claim is made under one file lock that the kernel releases when
its holder dies, so that workers never exceed the budget, and nothing has to be waited for after a SIGKILL. The sampler
is seeded anew for each claim, by the number of trials before it: a search that was interrupted goes on to the same
placements as one that was not (with one worker; several finish in whatever order they do).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from quietspike.core import Placement
from quietspike.search.config import Experiment
from quietspike.search.liveness import is_alive, who_am_i
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.space import Space

STUDY_NAME = "search"
DEATHS = 3
"""A placement whose workers died so often is recorded as failed."""

REPEATS_IN_A_ROW = 20
"""After so many repeated suggestions the sampler has converged, and a new placement is drawn at random."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Claim:
    """A placement to train.

    Args:
        number: of its trial.
        placement: what to train.
    """

    number: int
    placement: Placement


class SearchStudy:
    """The study of one search, opened by the driver and by each worker.

    Args:
        experiment: sampler, seed, budget.
        space: what is sampled.
        folder: where ``study.journal`` lies.
    """

    def __init__(self, experiment: Experiment, space: Space, folder: Path) -> None:
        self.experiment = experiment
        self.space = space
        self._claiming = FileLock(folder / "claim.lock")
        # the kernel frees this lock when its holder dies, where Optuna's own must first grow 30 s old
        writing = cast(Any, FileLock(folder / "study.journal.lock"))
        self.storage = JournalStorage(JournalFileBackend(str(folder / "study.journal"), lock_obj=writing))
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=STUDY_NAME,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )

    def begin(self) -> int:
        """Queue the uniform placements, or after an interruption what was under way; says how many of the latter."""
        with self._claiming:
            if self.experiment.search.uniform_first and not self._trials():
                for placement in dict.fromkeys(self.space.uniform.values()):
                    self._queue(placement)
        return self.recover(blame=False)

    def recover(self, *, blame: bool = True) -> int:
        """Put the placements of dead workers back in the queue; says how many.

        Args:
            blame: count it against the placement, which may be what kills them (by its memory, say).
        """
        with self._claiming:
            running = [trial for trial in self._trials() if trial.state == TrialState.RUNNING]
            orphans = [trial for trial in running if not is_alive(trial.user_attrs.get("worker"))]
            for trial in orphans:
                self._lose(trial, blame)
            return len(orphans)

    def claim(self) -> Claim | None:
        """The next placement to train; ``None`` when the budget is used up or nothing is left to try."""
        with self._claiming:
            repeats = 0
            while True:
                trials = self._trials()
                tried = {self._placement(t): t for t in trials if _counts(t)}
                if len(tried) >= min(self.experiment.search.trials, self.space.size):
                    return None
                placement = (
                    None if any(t.state == TrialState.WAITING for t in trials) else self._unasked(tried, repeats)
                )
                if placement is not None:
                    self._queue(placement)
                self.study.sampler = self._sampler(len(trials))
                trial = self.study.ask(self.space.distributions)
                placement = self.space.placement(trial.params)
                trial.set_user_attr("worker", who_am_i())
                if placement not in tried:
                    return Claim(trial.number, placement)
                trial.set_user_attr("repeats", tried[placement].number)
                earlier = tried[placement]
                if earlier.state == TrialState.COMPLETE:
                    self.study.tell(trial, earlier.values)
                else:
                    self.study.tell(trial, state=TrialState.FAIL)
                repeats += 1

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Record what a claimed trial gave: its values, or why it failed."""
        trial_id = self._frozen(claim.number)._trial_id
        self.storage.set_trial_user_attr(trial_id, "outcome", outcome.data)
        if outcome.reason is not None:
            self.study.tell(claim.number, state=TrialState.FAIL)
        else:
            self.study.tell(claim.number, [outcome.accuracy, outcome.totals[self.experiment.search.objective]])

    def lose(self, claim: Claim) -> None:
        """The worker of a claim died: put the placement back in the queue."""
        with self._claiming:
            self._lose(self._frozen(claim.number), blame=True)

    def results(self) -> list[TrialResult]:
        """All placements that were trained to an end, in the order of their trials."""
        finished = [t for t in self._trials() if _counts(t) and t.state.is_finished()]
        return [TrialResult(t.number, self._placement(t), Outcome.of(t.user_attrs["outcome"])) for t in finished]

    def running(self) -> int:
        """How many trials are under way."""
        return sum(t.state == TrialState.RUNNING for t in self._trials())

    def _lose(self, trial: FrozenTrial, blame: bool) -> None:
        deaths = trial.user_attrs.get("deaths", 0) + blame
        if deaths >= DEATHS:
            reason = f"its worker died {deaths} times"
            self.finish(Claim(trial.number, self._placement(trial)), Outcome.failed(reason))
            return
        self.storage.set_trial_user_attr(trial._trial_id, "lost", True)
        self.study.tell(trial.number, state=TrialState.FAIL)
        self._queue(self._placement(trial), deaths)

    def _queue(self, placement: Placement, deaths: int = 0) -> None:
        self.study.enqueue_trial(self.space.labels(placement), user_attrs={"deaths": deaths})

    def _unasked(self, tried: dict[Placement, FrozenTrial], repeats: int) -> Placement | None:
        """A placement that the sampler is not asked for: the grid's next, or one at random when it only repeats."""
        if self.experiment.search.sampler != "grid" and repeats < REPEATS_IN_A_ROW:
            return None
        untried = (p for p in self.space.shuffled(self.experiment.seed, len(tried) + 1) if p not in tried)
        return next(untried)

    def _sampler(self, number: int) -> BaseSampler:
        seed = (self.experiment.seed * 1_000_003 + number) % 2**32
        match self.experiment.search.sampler:
            case "tpe":
                return TPESampler(seed=seed)
            case "nsga2":
                return NSGAIISampler(population_size=self.experiment.search.population, seed=seed)
            case _:
                return RandomSampler(seed=seed)

    def _placement(self, trial: FrozenTrial) -> Placement:
        params = trial.params or trial.system_attrs.get("fixed_params", {})
        return self.space.placement(params)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._trials()[number]


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is an attempt of its own: neither waiting, nor lost with its worker, nor a repetition."""
    return trial.state != TrialState.WAITING and not {"lost", "repeats"} & trial.user_attrs.keys()
