"""An engine that trains nothing: a table of ``quietspike tabulate`` answers, on the path of every other search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quietspike.core import OptionError
from quietspike.core.training import EpochRow
from quietspike.search.config import Experiment
from quietspike.search.confirmation import Task
from quietspike.search.execution import Log, Training
from quietspike.search.job import Job
from quietspike.search.processes import Watch
from quietspike.search.results import Outcome
from quietspike.search.space import Space
from quietspike.search.tabulation import RATE, Entry, Table, read_table


class TabularEngine:
    """Claims placements one after another and looks up what they gave, epoch by epoch; stops early as others do."""

    def check(self, experiment: Experiment, space: Space) -> None:
        """Refuse an experiment that the table cannot answer, before anything is begun.

        Raises:
            QuietspikeError: names the key that differs.
        """
        _open(experiment, space)

    def search(self, job: Job, watch: Watch) -> None:
        """Run trials until the study has as many as asked for."""
        job = replace(job, train=_open(job.experiment, job.space))
        study = job.open_study()
        while (claim := study.claim()) is not None:
            job.run_trial(study, claim, 0)
            watch()

    def confirm(self, job: Job, tasks: Sequence[Task], watch: Watch) -> None:
        """The table's further seeds, where it has them; a task that it does not hold fails."""
        job = replace(job, train=_open(job.experiment, job.space))
        for task in tasks:
            task.run(job, 0)
            watch()


@dataclass(frozen=True)
class Replay:
    """Stands for ``run_training``.

    The search's seed is the sampler's alone: its trials are the table's first trainings, and the first seed that it
    confirms with is the table's second.

    Args:
        table: what was trained.
        path: of the table, for what is said of it.
    """

    table: Table
    path: Path

    def __call__(
        self,
        training: Training,
        run: Log,
        worker: int = 0,
        *,
        test: bool = False,
        watch: Callable[[EpochRow], None] | None = None,
        goes_on: Callable[[int, Mapping[str, float]], bool] | None = None,
    ) -> Outcome:
        """Log the epochs of an earlier training, and give what it gave.

        Raises:
            OptionError: if the table has no such training, or it failed.
        """
        seed = training.seed - training.base.seed + self.table.seed
        entry = self.table.entries.get((training.placement, seed))
        if entry is None:
            raise OptionError(f"{self.path}: has no training of {training.design.label} with seed {seed}")
        if entry.outcome.reason is not None:
            raise OptionError(f"{self.path}: it failed there: {entry.outcome.reason}")
        for epoch in range(1, entry.epochs + 1):
            measured = entry.after(epoch)
            run.log_metrics(entry.metrics(epoch), step=epoch)
            values = {"accuracy": measured.accuracy, **measured.totals}
            if goes_on is not None and epoch in training.experiment.rungs and not goes_on(epoch, values):
                run.stop(epoch)
                return replace(measured, stopped=epoch)
        if test:
            _log_test(run, entry)
            return entry.outcome
        return entry.final


def _log_test(run: Log, entry: Entry) -> None:
    own = entry.outcome
    rates = {f"{RATE}{layer}": rate for layer, rate in own.rates.items()}
    shown = {"accuracy": own.accuracy, **own.totals, **rates}
    run.log_metrics({f"test_{name}": value for name, value in shown.items()}, step=entry.epochs)


def _open(experiment: Experiment, space: Space) -> Replay:
    path = experiment.search.table
    if path is None:
        raise OptionError("search.table: missing; it names the table that search.engine: tabular replays")
    table = read_table(path)
    table.check_part(experiment, space, path)
    return Replay(table, path)
