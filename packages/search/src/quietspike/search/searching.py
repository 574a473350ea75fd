"""A whole search: prepare, try placements, confirm the best, report."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from filelock import FileLock, Timeout
from rich.console import Console

from quietspike.core import ENGINES, OptionError, QuietspikeError
from quietspike.core.contracts import Checking, Engine
from quietspike.core.training import resolve_device
from quietspike.core.weights import write_whole
from quietspike.search.config import Experiment
from quietspike.search.confirmation import collect_confirmations, plan_confirmation
from quietspike.search.data import prepare_data
from quietspike.search.job import Job
from quietspike.search.pareto import find_front, hypervolume
from quietspike.search.progress import ProgressShow, best_note, outcome_text, trial_line
from quietspike.search.provenance import provenance
from quietspike.search.report import log_report, print_report, write_report
from quietspike.search.results import SearchResult
from quietspike.search.selection import choose_placements
from quietspike.search.sending import sending
from quietspike.search.space import Space, open_space
from quietspike.search.study import SearchStudy
from quietspike.search.tracking import open_tracker

SHOW_EVERY = 0.3
"""Seconds between two looks at what has ended."""


def run_search(experiment: Experiment, console: Console | None = None) -> SearchResult:
    """Search where attention belongs, confirm the result on the test split and write it down.

    A search that was interrupted goes on where it stopped: finished trials and confirmations are kept, and what was
    under way is taken up at its last checkpoint.

    Workers are spawned, so they import the script that calls this: it does so below ``if __name__ == "__main__":``.

    Args:
        experiment: what to search, and with what.
        console: for progress and the report; nothing is printed where ``None``.

    Returns:
        Trials, front and confirmations; the files of ``SearchResult.folder`` hold the same.

    Raises:
        QuietspikeError: for a mistake in the experiment, before anything is trained; or if every trial failed.
    """
    console = console or Console(quiet=True)
    engine = _open_engine(experiment)
    resolve_device(experiment.device)
    _require_rungs(experiment)
    space = open_space(experiment)
    plan_confirmation(experiment, space, [])
    if isinstance(engine, Checking):
        engine.check(experiment, space)
    prepare_data(experiment, space)
    with own_folder(experiment) as folder:
        write_whole(folder / "experiment.yaml", yaml.safe_dump(experiment.data, sort_keys=False).encode())
        study = SearchStudy(experiment, space, folder)
        study.await_strangers()
        tracker = open_tracker(experiment, provenance())
        job = Job(experiment, space, tracker)
        with sending(tracker.sender(_plainly(console))), _accounted(job, study) as interrupted:
            _announce(job, study, interrupted, console)
            if experiment.search.strategy == "supernet":
                choose_placements(job, console)
            _try_placements(engine, job, study, console)
            _confirm(engine, job, study, console)
            result = collect_result(experiment, space, study)
            write_report(result)
            log_report(result, job)
    print_report(result, console)
    return result


def _require_rungs(experiment: Experiment) -> None:
    """Refuse early stopping that stops nothing; a single design may still have too few epochs for it."""
    options = experiment.search.early_stopping
    if options is not None and not experiment.rungs:
        given = f"search.early_stopping.min_epochs={options.min_epochs}"
        raise OptionError(f"{given}: must be below train.epochs={experiment.train.epochs}")


def _open_engine(experiment: Experiment) -> Engine:
    options = experiment.search
    engine: Engine = ENGINES.get(options.engine)()
    for key in ("address", "cpus", "gpus"):
        value = getattr(options, key)
        if value is not None and not getattr(engine, "on_clusters", False):
            raise OptionError(f"search.{key}: {value}: is for the engine ray, not {options.engine}")
    return engine


def read_search(experiment: Experiment) -> SearchResult:
    """What a search has given so far; nothing is trained.

    Raises:
        OptionError: if it has not begun.
    """
    if not (experiment.folder / "study.journal").exists():
        raise OptionError(f"{experiment.folder}: no search has begun there")
    space = open_space(experiment)
    return collect_result(experiment, space, SearchStudy(experiment, space, experiment.folder))


def collect_result(experiment: Experiment, space: Space, study: SearchStudy) -> SearchResult:
    """The result, from the journal and the confirmations' files."""
    goals = experiment.search.goals
    trials = study.results()
    front = find_front(trials, goals)
    points = [goals.point(trial.outcome.value) for trial in front]
    return SearchResult(
        folder=experiment.folder,
        goals=goals,
        trials=trials,
        front=front,
        hypervolume=hypervolume(points, goals.corner),
        confirmations=collect_confirmations(experiment, plan_confirmation(experiment, space, trials)),
        epochs=experiment.train.epochs,
    )


@contextmanager
def _accounted(job: Job, study: SearchStudy) -> Iterator[int]:
    """Nothing is left as running, in the journal or in MLflow, before and after; says how many trials were before.

    No worker is alive then: those of this driver have ended, and so have those of an earlier one.
    """
    status = "KILLED"
    try:
        try:
            yield _end_what_runs(job, study)
        finally:
            _end_what_runs(job, study)
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        job.tracker.parent.end(status)


def _end_what_runs(job: Job, study: SearchStudy) -> int:
    """Trials in the journal, of which it says how many, and runs in MLflow."""
    try:
        return study.lose_all()
    finally:
        job.tracker.end_all()


def _try_placements(engine: Engine, job: Job, study: SearchStudy, console: Console) -> None:
    objective, total = job.experiment.search.objective, study.total
    seen = {trial.number for trial in study.results()}
    with ProgressShow(console, "trial", total, len(seen)) as progress:

        def look() -> None:
            trials = study.results()
            lines = [trial_line(trial, objective) for trial in trials if trial.number not in seen]
            seen.update(trial.number for trial in trials)
            progress.show(lines, best_note(trials, objective))

        if len(seen) < total:
            engine.search(job, at_most_every(SHOW_EVERY, look))
            look()
    job.tidy(study)  # again, since a worker may have been killed before it did
    results = study.results()
    if len(results) < total:
        raise QuietspikeError(f"only {len(results)} of {total} trials have ended; the same command goes on")
    if all(trial.outcome.reason is not None for trial in results):
        traceback = job.trial_folder(results[0].design) / "error.txt"
        reason = f"every trial failed, the first with {results[0].outcome.reason}; see {traceback}"
        raise QuietspikeError(f"{reason}; to try again, remove {job.folder}")


def _confirm(engine: Engine, job: Job, study: SearchStudy, console: Console) -> None:
    objective = job.experiment.search.objective
    tasks = plan_confirmation(job.experiment, job.space, study.results()).tasks
    for task in tasks:
        task.abandoned(job)  # forget what an earlier driver's workers left unfinished
    left = [task for task in tasks if task.outcome(job.folder) is None]
    waiting = list(left)
    with ProgressShow(console, "confirm", len(tasks), len(tasks) - len(left)) as progress:

        def look() -> None:
            ended = [(task, outcome) for task in waiting if (outcome := task.outcome(job.folder)) is not None]
            for task, _ in ended:
                waiting.remove(task)
            progress.show([f"{t.design.label}, seed {t.seed}: {outcome_text(o, objective)}" for t, o in ended])

        if left:
            engine.confirm(job, left, at_most_every(SHOW_EVERY, look))
            look()
    if waiting:
        ended = len(tasks) - len(waiting)
        raise QuietspikeError(f"only {ended} of {len(tasks)} confirmations have ended; the same command goes on")


def _announce(job: Job, study: SearchStudy, recovered: int, console: Console) -> None:
    done = len(study.results())
    options = job.experiment.search
    chooser = options.sampler if options.strategy == "trials" else options.strategy
    sites = ", ".join([*job.space.choices, *options.settings])
    many = f"{job.workers} at a time"
    if options.address is not None and not options.workers:
        many = "as many at a time as there is room for"
    lines = [
        f"Searching {job.space.count} over {sites}",
        f"{study.total} trials by {chooser}, {many} with {options.engine}, in {job.folder}",
    ]
    if done or recovered:
        lines.append(f"Going on: {done} of {study.total} trials are done, interrupted: {recovered}")
    for line in lines:
        _plainly(console)(line)


def _plainly(console: Console) -> Callable[[str], None]:
    return functools.partial(console.print, highlight=False, markup=False)


@contextmanager
def own_folder(experiment: Experiment) -> Iterator[Path]:
    """The search's folder, for this driver alone.

    Raises:
        OptionError: if it cannot be written, or another search runs in it.
    """
    folder = experiment.folder
    with held_alone(folder / "driver.lock", f"output: {folder}", f"{folder}: another search runs there"):
        yield folder


@contextmanager
def held_alone(path: Path, where: str, refusal: str) -> Iterator[None]:
    """A file's lock, for this process alone; the file stays.

    Raises:
        OptionError: with the text ``refusal`` if another process has the lock; that ``where`` cannot be written if the
            file cannot be made.
    """
    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise OptionError(refusal) from None
    except FileExistsError:
        raise OptionError(f"{where}: cannot be written: {path.parent} is no folder") from None
    except OSError as error:
        raise OptionError(f"{where}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def at_most_every(seconds: float, look: Callable[[], None]) -> Callable[[], None]:
    """``look``, which does nothing where its last call was less than so many seconds ago."""
    last = [0.0]

    def maybe_look() -> None:
        if time.monotonic() - last[0] >= seconds:
            look()
            last[0] = time.monotonic()

    return maybe_look
