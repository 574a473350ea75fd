"""The journal of a search: which placements were tried, by whom, with what result.

It is an Optuna study in a JournalStorage file. Every claim is made under one file lock that the kernel releases when
its holder dies, so that workers never exceed the budget, and nothing has to be waited for after a SIGKILL. What is
claimed next depends on the finished attempts alone, and the sampler is seeded anew each time by their number: a search
that was interrupted, between any two lines of the journal, goes on to the same placements as one that was not (with one
worker; several finish in whatever order they do).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from quietspike.core import QuietspikeError
from quietspike.search.claim import Claim as Claim
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.journal import Journal
from quietspike.search.ledger import RUNG, Ledger, State
from quietspike.search.liveness import is_alive, who_am_i
from quietspike.search.queue import read_queue
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.rung import Rung
from quietspike.search.samplers import Samplers
from quietspike.search.space import Space

STUDY_NAME = "search"
DEATHS = 3
"""A placement whose workers died so often is recorded as failed."""

REPEATS_IN_A_ROW = 5
"""After so many repeated suggestions the sampler has converged, and a new placement is drawn at random."""

CROSSING = ("nsga2", "gp")
"""Samplers that look at whole trials: each must have a value for all that is searched, also where it does not count."""

FIXED = "fixed_params"
"""The system attribute of a trial from the queue, whose parameters no sampler is asked for."""

PATIENCE = 60.0
"""Seconds that workers of a driver that was killed get to notice it and end."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class SearchStudy:
    """The study of one search, opened by the driver and by each worker.

    A trial's user attributes say what Optuna has no state for: ``worker`` (who claimed it), ``outcome``, ``lost`` (its
    worker ``died``, or the whole search was ``interrupted``; the placement is claimed again), ``repeats`` (the number
    of an earlier trial of the same placement, whose values it was given), ``rung-3`` (what it had after epoch 3, and
    whether it went on).

    Args:
        experiment: sampler, seed, budget.
        space: what is sampled.
        folder: where ``study.journal`` lies; where ``None``, the study is kept in memory, for one process.
    """

    def __init__(self, experiment: Experiment, space: Space, folder: Path | None) -> None:
        self.experiment = experiment
        self.space = space
        self.goals = experiment.search.goals
        self._folder = folder
        self._queue: list[Design] = []
        self._shuffled = space.shuffled(experiment.seed, self.total)  # more of them are never tried
        self._drawn: Design | None = None
        self._claiming = nullcontext() if folder is None else FileLock(folder / "claim.lock")
        journal = None if folder is None else Journal(folder / "study.journal")
        self.storage = journal or InMemoryStorage()
        self._together: Callable[[], AbstractContextManager[None]] = journal.together if journal else nullcontext
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=STUDY_NAME,
            directions=[StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in self.goals.costs)],
            load_if_exists=True,
        )
        self._ledger = Ledger(self.study, space.design)
        self._samplers = Samplers(experiment, space, self._ledger.design)

    @property
    def total(self) -> int:
        """How many placements are to be tried."""
        return int(min(self.experiment.search.trials, self.space.size))

    def claim(self) -> Claim | None:
        """The next placement to train; ``None`` when the budget is used up or nothing is left to try."""
        with self._claiming:
            while True:
                state = self._ledger.read()
                if len(state.tried) >= self.total:
                    return None
                try:
                    due = self._due(state)
                except StopIteration:  # an endless space of values that floats cannot tell apart
                    return None
                if due is not None:
                    self.study.enqueue_trial(dict(due))
                self.study.sampler = self._samplers.new(state.attempts)
                trial = self.study.ask()
                if FIXED not in self._ledger.trials()[trial.number].system_attrs:
                    _ = trial.relative_params  # nsga2 and gp think here, where nobody waits for the file
                with self._together():
                    design = self.space.suggest(trial, whole=self.experiment.search.sampler in CROSSING)
                    earlier = state.tried.get(design)
                    if earlier is None:
                        self._inherit(state, trial, design)
                        trial.set_user_attr("worker", who_am_i())
                        return Claim(trial.number, design)
                    trial.set_user_attr("repeats", earlier.number)
                    self._bound(trial, earlier.constraints)
                    self._tell(trial.number, earlier.values)

    def goes_on(self, claim: Claim, epoch: int, values: Mapping[str, float]) -> bool:
        """Whether a trial goes on behind an epoch, by what had reached the same rung before it.

        What was decided once is said again, and counts once, however often the trial was lost and taken up since.

        Args:
            claim: which trial.
            epoch: that it has been trained for.
            values: the accuracy and the costs that it has then.
        """
        options = self.experiment.search.early_stopping
        if options is None or epoch not in claim.design.apply(self.experiment).rungs:  # it may have epochs of its own
            return True
        with self._claiming:
            rung = self._rung(epoch)
            visit = rung.visits.get(claim.design)
            if visit is None:
                visit = rung.admit(values, options.reduction)
                self._note(claim.number, f"{RUNG}{epoch}", asdict(visit))
            return visit.goes_on

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Record what a claimed trial gave: its values, or why it failed; MLflow has its curve."""
        figures = replace(outcome, curve={})
        with self._together():
            self._note(claim.number, "outcome", figures.data)
            self._conclude(claim.number, figures)

    def lose(self, claim: Claim) -> None:
        """The worker of a claim died: its placement is to be claimed again."""
        with self._claiming:
            self._lose(self._ledger.trials()[claim.number], blame=True)

    def lose_dead(self) -> int:
        """Put the placements of dead workers back; says how many."""
        with self._claiming:
            orphans = [trial for trial in self._ledger.running() if not is_alive(trial.user_attrs.get("worker"))]
            for trial in orphans:
                self._lose(trial, blame=True)
            return len(orphans)

    def lose_all(self) -> int:
        """Put back all that is under way, for a driver that knows of no worker any more; says how many."""
        with self._claiming:
            running = self._ledger.running()
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
        return self._ledger.read().results

    def _due(self, state: State) -> Mapping[str, Any] | None:
        """The parameters of a design that the sampler is not asked for, and that is not in the queue yet.

        First come those that were lost, then the uniform ones, then what a supernet puts forward or the grid's next, or
        one at random where the sampler only repeats itself.

        Raises:
            StopIteration: if there is none that has not been tried.
        """
        if state.waiting:
            return None
        options = self.experiment.search
        if self._folder is not None and not self._queue:
            self._queue = read_queue(self._folder) or []  # which is written once
        for design in [*state.lost, *(self.space.first() if options.uniform_first else ()), *self._queue]:
            if design not in state.tried:
                return state.lost[design].params if design in state.lost else self.space.params(design)
        if options.sampler != "grid" and options.strategy == "trials" and state.repeats < REPEATS_IN_A_ROW:
            return None
        while self._drawn is None or self._drawn in state.tried:
            self._drawn = next(self._shuffled)
        return self.space.params(self._drawn)

    def _inherit(self, state: State, trial: Trial, design: Design) -> None:
        """Give a trial what the sampler had noted at the lost one whose placement it takes up: its generation."""
        lost = state.lost.get(design)
        for key, value in lost.system_attrs.items() if lost is not None else ():
            if key != FIXED:
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
            design = self._ledger.design(trial)
            if self._ledger.read().deaths.get(design, 0) + 1 >= DEATHS:
                reason = f"its worker died {DEATHS} times"
                self.finish(Claim(trial.number, design), Outcome.failed(reason))
                return
        self._note(trial.number, "lost", "died" if blame else "interrupted")
        self._tell(trial.number, None)

    def _rung(self, epoch: int) -> Rung:
        visits = self._ledger.read().visits.get(epoch, {})
        return Rung(self.goals.figures, self.experiment.search.asked, visits)

    def _conclude(self, number: int, outcome: Outcome) -> None:
        figures = self._figures(number, outcome)
        if figures is None:
            self._tell(number, None)
            return
        if self.goals.constraints:
            trial = Trial(self.study, self._ledger.trials()[number]._trial_id)
            self._bound(trial, self.goals.violations(figures))
        self._tell(number, list(self.goals.point(figures)))

    def _figures(self, number: int, outcome: Outcome) -> Callable[[str], float] | None:
        """What the sampler is told of a trial: of one that was stopped, what it would have come to at its end."""
        if outcome.stopped is None:
            return outcome.value if outcome.complete else None
        expected = self._rung(outcome.stopped).expect(
            self._ledger.design(self._ledger.trials()[number]), self.results()
        )
        return None if expected is None else expected.__getitem__

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
        self.storage.set_trial_user_attr(self._ledger.trials()[number]._trial_id, key, value)

    def _strangers(self) -> list[int]:
        """Processes of this machine that live and have claims; another machine's, nothing here can tell of."""
        me = who_am_i()
        workers = [trial.user_attrs.get("worker", me) for trial in self._ledger.running()]
        return [w["pid"] for w in workers if w != me and w["host"] == me["host"] and is_alive(w)]
