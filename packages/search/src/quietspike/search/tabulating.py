"""``quietspike tabulate``: trains every placement of a space and keeps what each gave, epoch by epoch, in one table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from quietspike.core import ENGINES, OptionError, Placement, QuietspikeError
from quietspike.core.contracts import Engine
from quietspike.core.training import resolve_device
from quietspike.search.config import Experiment
from quietspike.search.confirmation import Task
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.pareto import find_front
from quietspike.search.progress import ProgressShow, outcome_text
from quietspike.search.provenance import provenance
from quietspike.search.results import TrialResult
from quietspike.search.searching import at_most_every, held_alone, own_folder
from quietspike.search.space import open_space
from quietspike.search.tabulation import Entry, Table, read_table, write_table
from quietspike.search.untracked import Untracked

SHOW_EVERY = 0.5
"""Seconds between two looks at what has ended."""

WRITE_EVERY = 60.0
"""Seconds between two states of the table; what has ended since the last lies in the search's folder."""


def tabulate(experiment: Experiment, console: Console | None = None, seeds: int = 3, drawn: int = 50) -> Table:
    """Train every placement of the experiment's space once; the front, and some drawn at random, with more seeds.

    Placements come in a random order, so that half a table is a random half. The table itself is what is gone on from,
    on any machine: what is in it is not trained again. On the machine where it was made, what was under way goes on
    from its last checkpoint.

    Args:
        experiment: its ``search.table`` is the file; ``search.engine`` trains, ``search.workers`` at a time.
        console: for progress; nothing is printed where ``None``.
        seeds: trainings of the front (of the first trainings' validation figures) and of what is drawn.
        drawn: so many placements at random have as many seeds as the front.

    Returns:
        The table, which is also in the file.

    Raises:
        QuietspikeError: for a mistake in the experiment, a table of another one, or one that another process writes;
            before anything is trained.
    """
    console = console or Console(quiet=True)
    path = experiment.search.table
    if path is None:
        raise OptionError("search.table: missing; it names the file of the table, as t.jsonl.xz")
    if seeds < 1 or drawn < 0:
        raise OptionError(f"--seeds {seeds}, --drawn {drawn}: there is no table of fewer than 1 seed, or 0 drawn")
    if experiment.search.engine == "tabular":
        raise OptionError("search.engine: tabular replays a table; another one must train it")
    engine = ENGINES.get(experiment.search.engine)()
    resolve_device(experiment.device)
    space = open_space(experiment)
    lock = path.resolve().with_name(f"{path.resolve().name}.lock")
    with held_alone(lock, f"search.table: {path}", f"{path}: another tabulate writes it"):
        table = read_table(path) if path.exists() else Table.empty(experiment, space)
        table.check_whole(experiment, space, path)
        for name in ("train", "validation", "test"):  # once, before several processes ask for them
            open_dataset(experiment).split(name)
        with own_folder(experiment) as folder:
            inner = experiment.model_copy(update={"output": folder, "name": "table"})
            work = _Work(Job(inner, space, Untracked()), path, table, provenance())
            everything = [design.placement for design in space.shuffled(experiment.seed, int(space.size))]
            first = [Task(Design(placement), experiment.seed) for placement in everything]
            work.train(engine, first, console, "first seed")
            again = list(dict.fromkeys([*_front(work.table, experiment), *everything[:drawn]]))
            further = range(experiment.seed + 1, experiment.seed + seeds)
            more = [Task(Design(placement), seed) for seed in further for placement in again]
            work.train(engine, more, console, "more seeds")
            shutil.rmtree(inner.folder, ignore_errors=True)
    console.print(f"{len(work.table.entries)} trainings are in {path}", highlight=False, markup=False)
    return work.table


class _Work:
    """The table as it grows.

    Args:
        job: trains in a folder of its own.
        path: of the table.
        table: what it holds so far.
        maker: versions and commit of this run.
    """

    def __init__(self, job: Job, path: Path, table: Table, maker: Mapping[str, str]) -> None:
        self.table = table
        self._job = job
        self._path = path
        self._maker = maker
        self._written = time.monotonic()

    def train(self, engine: Engine, tasks: Sequence[Task], console: Console, title: str) -> None:
        """Train what the table has not, and write it."""
        waiting = [task for task in tasks if (task.design.placement, task.seed) not in self.table.entries]
        if not waiting:
            return
        objective = self._job.experiment.search.objective
        with ProgressShow(console, title, len(tasks), len(tasks) - len(waiting)) as progress:

            def look() -> None:
                ended = self._collect(waiting)
                for entry in ended:
                    waiting.remove(Task(Design(entry.placement), entry.seed))
                figures = [f"{e.placement.label}, seed {e.seed}: {outcome_text(e.final, objective)}" for e in ended]
                progress.show(figures)

            try:
                look()  # what an earlier run had ended, and not yet written into the table
                while waiting:
                    before = len(waiting)
                    for task in waiting:
                        task.abandoned(self._job)
                    engine.confirm(self._job, list(waiting), at_most_every(SHOW_EVERY, look))
                    look()
                    if len(waiting) == before:
                        raise QuietspikeError(f"{before} trainings have not ended; the same command goes on")
            finally:
                self._collect(waiting)  # what has ended since the last look
                write_table(self._path, self.table)

    def _collect(self, waiting: Sequence[Task]) -> list[Entry]:
        """What has ended among what is waited for; it is then in the table."""
        outcomes = [(task, task.outcome(self._job.folder)) for task in waiting]
        ended = [Entry(task.design.placement, task.seed, outcome) for task, outcome in outcomes if outcome is not None]
        if ended:
            self.table = self.table.with_entries(ended, self._maker)
        if time.monotonic() - self._written > WRITE_EVERY:
            write_table(self._path, self.table)
            self._written = time.monotonic()
        return ended


def _front(table: Table, experiment: Experiment) -> list[Placement]:
    """Of the first trainings' validation figures."""
    first = [entry for entry in table.entries.values() if entry.seed == experiment.seed]
    ordered = sorted(first, key=lambda entry: entry.placement.json)  # of equals the first: in no order of their ends
    trials = [TrialResult(number, Design(entry.placement), entry.final) for number, entry in enumerate(ordered)]
    return [trial.placement for trial in find_front(trials, experiment.search.goals)]
