"""What the journal of a search says, read once: of what has ended, nothing ever changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from quietspike.search.design import Design
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.rung import Visit

RUNG = "rung-"
"""What the user attribute of a rung begins with; its epoch follows."""


@dataclass
class State:
    """What a number of trials come to.

    Args:
        attempts: claims that were made to their end, and not lost since.
        repeats: how many attempts, up to the last, were suggestions of what had been tried before.
        tried: by design, the attempt that was the first.
        lost: by design, the first trial of it whose worker was lost.
        deaths: by design, how many workers died of it.
        visits: by epoch, the designs that have come to that rung.
        results: all that were trained to an end.
        waiting: whether a design lies in the queue.
    """

    attempts: int = 0
    repeats: int = 0
    tried: dict[Design, FrozenTrial] = field(default_factory=dict)
    lost: dict[Design, FrozenTrial] = field(default_factory=dict)
    deaths: dict[Design, int] = field(default_factory=dict)
    visits: dict[int, dict[Design, Visit]] = field(default_factory=dict)
    results: list[TrialResult] = field(default_factory=list)
    waiting: bool = False

    def copy(self) -> State:
        """One that may be added to."""
        visits = {epoch: dict(known) for epoch, known in self.visits.items()}
        own = (dict(self.tried), dict(self.lost), dict(self.deaths), visits, list(self.results))
        return State(self.attempts, self.repeats, *own, self.waiting)

    def add(self, trial: FrozenTrial, design_of: Callable[[FrozenTrial], Design]) -> None:
        """One more trial, in their order."""
        attrs = trial.user_attrs
        self.waiting = self.waiting or trial.state == TrialState.WAITING
        if not was_claimed(trial):
            return
        design = design_of(trial)
        self._add_notes(trial, design, attrs)
        if "lost" in attrs and "worker" not in attrs:
            return
        if "lost" in attrs:
            self.lost.setdefault(design, trial)
            self.deaths[design] = self.deaths.get(design, 0) + (attrs["lost"] == "died")
            return
        self.attempts += 1
        self.repeats = self.repeats + 1 if "repeats" in attrs else 0
        if "repeats" not in attrs:
            self.tried[design] = trial

    def _add_notes(self, trial: FrozenTrial, design: Design, attrs: dict[str, Any]) -> None:
        for key, value in attrs.items():
            if key.startswith(RUNG):
                self.visits.setdefault(int(key.removeprefix(RUNG)), {})[design] = Visit(**value)
        if trial.state.is_finished() and "outcome" in attrs:
            self.results.append(TrialResult(trial.number, design, Outcome.of(attrs["outcome"])))


def was_claimed(trial: FrozenTrial) -> bool:
    """Whether its claim was made to the end; else a kill came between, and it never was."""
    return not trial.user_attrs.keys().isdisjoint(("worker", "repeats"))


class Ledger:
    """Reads a study; what a claim costs does not grow with how many have ended.

    Args:
        study: whose trials are read.
        to_design: of all parameters of a trial.
    """

    def __init__(self, study: Study, to_design: Callable[[dict[str, Any]], Design]) -> None:
        self._study = study
        self._to_design = to_design
        self._designs: dict[int, Design] = {}
        self._settled = State()
        self._count = 0

    def read(self) -> State:
        """What all trials come to now."""
        trials = self.trials()
        while self._count < len(trials) and trials[self._count].state.is_finished():
            self._settled.add(trials[self._count], self.design)
            self._count += 1
        state = self._settled.copy()
        for trial in trials[self._count :]:
            state.add(trial, self.design)
        return state

    def trials(self) -> list[FrozenTrial]:
        """All trials."""
        return self._study.get_trials(deepcopy=False)

    def running(self) -> list[FrozenTrial]:
        """Those that a worker is at."""
        return [trial for trial in self.trials()[self._count :] if trial.state == TrialState.RUNNING]

    def design(self, trial: FrozenTrial) -> Design:
        """Of a trial that has all its parameters, which never change."""
        if trial.number not in self._designs:
            self._designs[trial.number] = self._to_design(trial.params)
        return self._designs[trial.number]
