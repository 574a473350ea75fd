"""A search that is set up, as an engine and its workers see it."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from quietspike.core import QuietspikeError
from quietspike.core.cores import usable_cores
from quietspike.core.weights import write_whole
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.execution import Training, design_params, run_training
from quietspike.search.pareto import find_front, least_violating
from quietspike.search.processes import FULL
from quietspike.search.results import Outcome
from quietspike.search.space import Space
from quietspike.search.study import Claim, SearchStudy
from quietspike.search.tracked_run import describe
from quietspike.search.tracking import Tracker
from quietspike.search.untracked import Untracked

GoesOn = Callable[[Claim, int, Mapping[str, float]], bool]


@dataclass(frozen=True)
class Job:
    """What workers are handed: plain data, and the work that they do with it.

    Args:
        experiment: what was asked for.
        space: what is searched.
        tracker: where runs are logged, if anywhere.
        train: what stands for ``run_training``, as a table of trainings that were done before.
    """

    experiment: Experiment
    space: Space
    tracker: Tracker | Untracked
    train: Callable[..., Outcome] | None = None

    @property
    def folder(self) -> Path:
        """Where the search keeps what it knows."""
        return self.experiment.folder

    @property
    def workers(self) -> int:
        """Trainings at once: as many as asked for, else one a GPU, else one for each ``threads`` cores."""
        asked = self.experiment.search.workers
        if asked:
            return asked
        if self.experiment.device != "cpu" and torch.cuda.is_available():
            return 1 if ":" in self.experiment.device else torch.cuda.device_count()
        return max(1, usable_cores() // self.threads)

    @property
    def threads(self) -> int:
        """CPU threads of a worker."""
        return self.experiment.search.threads

    def open_study(self) -> SearchStudy:
        """The journal; each process opens its own."""
        return SearchStudy(self.experiment, self.space, self.folder)

    def run_trial(self, study: SearchStudy, claim: Claim, worker: int) -> None:
        """Train a claimed placement, measure it on the validation split, record it; keep the front's weights."""
        outcome = self.evaluate_claim(claim, worker, study.goes_on)
        study.finish(claim, outcome)
        self.tidy(study)

    def evaluate_claim(self, claim: Claim, worker: int, goes_on: GoesOn) -> Outcome:
        """What a claimed design gives on the validation split; a failure is an outcome too.

        Args:
            claim: which.
            worker: number of this worker.
            goes_on: ``SearchStudy.goes_on``, or what passes its question on; asked at rungs.
        """
        training = Training(self.experiment, claim.design, self.experiment.seed, self.trial_folder(claim.design))
        asking = partial(goes_on, claim)
        return self.attempt(training, "trial", f"trial {claim.number}", {}, worker, goes_on=asking)

    def attempt(
        self,
        training: Training,
        kind: str,
        name: str,
        params: Mapping[str, str],
        worker: int,
        *,
        test: bool = False,
        goes_on: Callable[[int, Mapping[str, float]], bool] | None = None,
    ) -> Outcome:
        """Run a training inside an MLflow run of its own; whatever it raises becomes the outcome's reason.

        Raises:
            QuietspikeError: if the disk is full, which is no placement's fault and ends the search.
        """
        labels = self.space.labels(training.design)
        params = {**design_params(labels, training.design.settings), **params}
        try:
            with self.tracker.child(kind, f"{name}: {training.design.label}", params) as run:
                return (self.train or run_training)(training, run, worker, test=test, goes_on=goes_on)
        except Exception as error:  # a plugin may raise anything; the search goes on without this placement
            if isinstance(error, OSError) and error.errno in FULL:
                raise QuietspikeError(f"{training.folder}: {error.strerror}; what had ended is kept") from error
            write_whole(training.folder / "error.txt", traceback.format_exc().encode())
            return Outcome.failed(describe(error))

    def trial_folder(self, design: Design) -> Path:
        """Where a trial keeps its checkpoint, weights, or the traceback of its failure."""
        return self.folder / "trials" / design.digest

    def tidy(self, study: SearchStudy) -> None:
        """Delete what trials keep that others dominate, that are further from feasible, or that were stopped."""
        there = {path.name for path in (self.folder / "trials").glob("*")}  # few; the trials are many
        if not there:
            return
        # of those alone: what was deleted was dominated, or further from feasible, and what did that is here or was too
        results = [trial for trial in study.results() if trial.design.digest in there]
        goals = self.experiment.search.goals
        nearest = least_violating(results, goals)
        kept = {trial.number for trial in find_front(results, goals) or ([nearest] if nearest else [])}
        for trial in results:
            if trial.number not in kept and trial.outcome.reason is None:
                shutil.rmtree(self.trial_folder(trial.design), ignore_errors=True)
