"""The journal of a search: which placements were tried, by whom, with what result.

It is an Optuna study in a JournalStorage file. Every claim is made under one file lock that the kernel releases when
its holder dies, so that workers never exceed the budget, and nothing has to be waited for after a SIGKILL. What is
claimed next depends on the finished attempts alone, and the sampler is seeded anew each time by their number: a search
that was interrupted, between any two lines of the journal, goes on to the same placements as one that was not (with one
worker; several finish in whatever order they do).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from quietspike.core import Placement, QuietspikeError
from quietspike.core.seeds import derive_seed
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.journal import open_journal
from quietspike.search.liveness import is_alive, who_am_i
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.space import Space

STUDY_NAME = "search"
DEATHS = 3
"""A placement whose workers died so often is recorded as failed."""

REPEATS_IN_A_ROW = 20
"""After so many repeated suggestions the sampler has converged, and a new placement is drawn at random."""

CROSSING = ("nsga2",)
"""Samplers that cross whole trials: each must have a value for all that is searched, also where it does not count."""

PATIENCE = 60.0
"""Seconds that workers of a driver that was killed get to notice it and end."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Claim:
    """A design to train.

    Args:
        number: of its trial.
        design: what to train.
    """

    number: int
    design: Design

    @property
    def placement(self) -> Placement:
        """Which attention where."""
        return self.design.placement


class SearchStudy:
    """The study of one search, opened by the driver and by each worker.

    A trial's user attributes say what Optuna has no state for: ``worker`` (who claimed it), ``outcome``, ``lost`` (its
    worker ``died``, or the whole search was ``interrupted``; the placement is claimed again), ``repeats`` (the number
    of an earlier trial of the same placement, whose values it was given).

    Args:
        experiment: sampler, seed, budget.
        space: what is sampled.
        folder: where ``study.journal`` lies.
    """

    def __init__(self, experiment: Experiment, space: Space, folder: Path) -> None:
        self.experiment = experiment
        self.space = space
        self.goals = experiment.search.goals
        self._claiming = FileLock(folder / "claim.lock")
        self.storage = open_journal(folder / "study.journal")
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=STUDY_NAME,
            directions=[StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in self.goals.costs)],
            load_if_exists=True,
        )

    @property
    def total(self) -> int:
        """How many placements are to be tried."""
        return int(min(self.experiment.search.trials, self.space.size))

    def claim(self) -> Claim | None:
        """The next placement to train; ``None`` when the budget is used up or nothing is left to try."""
        with self._claiming:
            while True:
                trials = self._trials()
                attempts = [t for t in trials if _is_attempt(t)]
                tried = {self._design(t): t for t in attempts if "repeats" not in t.user_attrs}
                if len(tried) >= self.total:
                    return None
                due = self._due(trials, attempts, tried)
                if due is not None:
                    self.study.enqueue_trial(dict(due))
                self.study.sampler = self._sampler(len(attempts))
                trial = self.study.ask()
                design = self.space.suggest(trial, whole=self.experiment.search.sampler in CROSSING)
                earlier = tried.get(design)
                if earlier is None:
                    self._inherit(trials, trial, design)
                    trial.set_user_attr("worker", who_am_i())
                    return Claim(trial.number, design)
                trial.set_user_attr("repeats", earlier.number)
                self._bound(trial, earlier.constraints)
                self._tell(trial.number, earlier.values)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Record what a claimed trial gave: its values, or why it failed."""
        self._note(claim.number, "outcome", outcome.data)
        self._conclude(claim.number, outcome)

    def lose(self, claim: Claim) -> None:
        """The worker of a claim died: its placement is to be claimed again."""
        with self._claiming:
            self._lose(self._trials()[claim.number], blame=True)

    def lose_dead(self) -> int:
        """Put the placements of dead workers back; says how many."""
        with self._claiming:
            orphans = [trial for trial in self._running() if not is_alive(trial.user_attrs.get("worker"))]
            for trial in orphans:
                self._lose(trial, blame=True)
            return len(orphans)

    def lose_all(self) -> int:
        """Put back all that is under way, for a driver that knows of no worker any more; says how many."""
        with self._claiming:
            running = self._running()
            for trial in running:
                self._lose(trial, blame=False)
            return len(running)

    def await_strangers(self) -> None:
        """Wait for the workers of an earlier driver, which end by themselves after it was killed.

        Raises:
            QuietspikeError: if one does not.
        """
        deadline = time.monotonic() + PATIENCE
        while strangers := self._strangers():
            if time.monotonic() > deadline:
                raise QuietspikeError(f"process {strangers[0]} of an earlier search still works here; end it first")
            time.sleep(0.2)

    def results(self) -> list[TrialResult]:
        """All placements that were trained to an end, in the order of their trials."""
        ended = [t for t in self._trials() if t.state.is_finished() and "outcome" in t.user_attrs]
        return [TrialResult(t.number, self._design(t), Outcome.of(t.user_attrs["outcome"])) for t in ended]

    def _due(
        self, trials: list[FrozenTrial], attempts: list[FrozenTrial], tried: Mapping[Design, FrozenTrial]
    ) -> Mapping[str, Any] | None:
        """The parameters of a design that the sampler is not asked for, and that is not in the queue yet.

        First come those that were lost, then the uniform ones, then the grid's next, or one at random where the sampler
        only repeats itself.
        """
        if any(trial.state == TrialState.WAITING for trial in trials):
            return None
        options = self.experiment.search
        lost = {self._design(t): t.params for t in trials if {"lost", "worker"} <= t.user_attrs.keys()}
        for design in [*lost, *(self.space.first() if options.uniform_first else ())]:
            if design not in tried:
                return lost.get(design) or self.space.params(design)
        repeats = sum(1 for _ in takewhile(lambda t: "repeats" in t.user_attrs, reversed(attempts)))
        if options.sampler != "grid" and repeats < REPEATS_IN_A_ROW:
            return None
        shuffled = self.space.shuffled(self.experiment.seed, len(tried) + 1)
        return next(self.space.params(design) for design in shuffled if design not in tried)

    def _inherit(self, trials: list[FrozenTrial], trial: Trial, design: Design) -> None:
        """Give a trial what the sampler had noted at the lost one whose placement it takes up: its generation."""
        lost = (t for t in trials if {"lost", "worker"} <= t.user_attrs.keys() and self._design(t) == design)
        for key, value in next((t.system_attrs for t in lost), {}).items():
            if key != "fixed_params":  # which a queued trial has of its own
                self.storage.set_trial_system_attr(trial._trial_id, key, value)

    def _lose(self, trial: FrozenTrial, blame: bool) -> None:
        """Give up a running trial.

        Args:
            trial: which.
            blame: count it against the placement, which may be what kills workers (by its memory, say).
        """
        if "outcome" in trial.user_attrs:  # it died after its work was done
            self._conclude(trial.number, Outcome.of(trial.user_attrs["outcome"]))
            return
        if blame and "worker" in trial.user_attrs:
            design = self._design(trial)
            died = [t for t in self._trials() if t.user_attrs.get("lost") == "died" and self._design(t) == design]
            if len(died) + 1 >= DEATHS:
                reason = f"its worker died {DEATHS} times"
                self.finish(Claim(trial.number, design), Outcome.failed(reason))
                return
        self._note(trial.number, "lost", "died" if blame else "interrupted")
        self._tell(trial.number, None)

    def _conclude(self, number: int, outcome: Outcome) -> None:
        if outcome.reason is not None:
            self._tell(number, None)
            return
        if self.goals.constraints:
            trial = Trial(self.study, self._trials()[number]._trial_id)
            self._bound(trial, self.goals.violations(outcome.value))
        self._tell(number, list(self.goals.point(outcome.value)))

    def _bound(self, trial: Trial, violations: Mapping[str, float]) -> None:
        """Say by how much constraints are violated; what a killed worker has said of its trial stands."""
        for constraint, violation in violations.items():
            if constraint not in trial.constraints:
                trial.set_constraint(constraint, violation)

    def _tell(self, number: int, values: list[float] | None) -> None:
        """End a trial, as failed where there are no values."""
        if values is None:
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, values)

    def _note(self, number: int, key: str, value: object) -> None:
        self.storage.set_trial_user_attr(self._trials()[number]._trial_id, key, value)

    def _sampler(self, number: int) -> BaseSampler:
        seed = derive_seed(self.experiment.seed, "sampler", number) % 2**32
        match self.experiment.search.sampler:
            case "tpe":
                return TPESampler(seed=seed)
            case "nsga2":
                return _OrderedNSGAII(population_size=self.experiment.search.population, seed=seed)
            case _:
                return RandomSampler(seed=seed)

    def _design(self, trial: FrozenTrial) -> Design:
        return self.space.design(trial.params)

    def _strangers(self) -> list[int]:
        """Processes of this machine that live and have claims; another machine's, nothing here can tell of."""
        me = who_am_i()
        workers = [trial.user_attrs.get("worker", me) for trial in self._running()]
        return [w["pid"] for w in workers if w != me and w["host"] == me["host"] and is_alive(w)]

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state == TrialState.RUNNING]

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)


class _OrderedNSGAII(NSGAIISampler):
    """NSGA-II whose parents always come in the order of their trials.

    Optuna gives them in the order of selection when it selects a generation's parents and in the order of trials ever
    after: whether a claim was interrupted in between would show.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


def _is_attempt(trial: FrozenTrial) -> bool:
    """Whether a claim was made to its end, and not lost since."""
    return bool({"worker", "repeats"} & trial.user_attrs.keys()) and "lost" not in trial.user_attrs
