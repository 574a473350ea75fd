"""Ray Tune as an engine: the same study, on this machine or on a cluster.

The journal is the search's only memory. Ray's own state is never restored: after a kill the study is opened again, what
was under way is queued, and Ray Tune starts afresh with what is left. Only the driver's node opens it; workers share a
folder with it, for checkpoints, weights and what is to be logged.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Tune's own would end the trials and let the search go on
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # three files a trial that nobody would read
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one points at folders of Tune's, whatever its verbosity

try:
    import ray
    from ray import tune
    from ray.exceptions import RayError, RayTaskError
    from ray.tune.search import Searcher
    from ray.tune.search.optuna import OptunaSearch
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise ImportError(f'it needs Ray Tune: pip install "quietspike-search[ray]" ({error})') from error

from quietspike.core import QuietspikeError
from quietspike.search.confirmation import Task
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.processes import Watch, prepare_worker, room_asked
from quietspike.search.ray_cluster import Room, cluster, missing_here
from quietspike.search.results import Outcome
from quietspike.search.study import DEATHS, STUDY_NAME, Claim
from quietspike.search.tracked_run import describe

logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it tells of dead workers in tracebacks; the study says why

TIDY_EVERY = 1.0
"""Seconds between two looks for weights that nobody needs any more."""


class RayEngine:
    """Ray Tune runs the trials, Ray tasks the confirmation."""

    on_clusters = True
    """Whether ``search.address``, ``search.cpus`` and ``search.gpus`` mean anything to it."""

    def search(self, job: Job, watch: Watch) -> None:
        """Run trials until the study has as many as asked for."""
        with cluster(job) as room:
            trainable = tune.with_parameters(_run_trial, job=job, folder=os.getcwd(), judge=_start_judge(job))
            run_tune(trainable, job, room, watch)

    def confirm(self, job: Job, tasks: Sequence[Task], watch: Watch) -> None:
        """Run all tasks that have no outcome yet."""
        with cluster(job) as room:
            _Confirmation(job, room, tasks).run(watch)


def run_tune(trainable: Any, job: Job, room: Room, watch: Watch) -> None:
    """Let Ray Tune call a function with each claim until the study has as many trials as asked for.

    Raises:
        QuietspikeError: if a worker gave up for a reason that is no placement's fault.
    """
    shutil.rmtree(job.folder / "ray", ignore_errors=True)  # of a driver that was killed
    placements = PlacementSearch(job)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": room.cpus, "gpu": room.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=placements,
            num_samples=-1,  # the study counts the budget
            max_concurrent_trials=room.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(job.folder.resolve()),
            verbose=0,
            callbacks=[_WatchCallback(watch)],
        ),
    )
    tuner.fit()
    if placements.complaint is not None:
        raise QuietspikeError(placements.complaint)
    shutil.rmtree(job.folder / "ray", ignore_errors=True)


class _Confirmation:
    """Tasks of Ray, begun again when their worker dies: Ray itself would do so for ever where memory is short."""

    def __init__(self, job: Job, room: Room, tasks: Sequence[Task]) -> None:
        self._job = job
        self._room = room
        self._shared = ray.put(job)
        self._remote = ray.remote(num_cpus=room.cpus, num_gpus=room.gpus, max_retries=0)(_run_task)
        self._deaths: Counter[Task] = Counter()
        self._waiting = deque(tasks)
        self._pending: dict[Any, Task] = {}

    def run(self, watch: Watch) -> None:
        """Run all of them, as many at once as trials.

        Raises:
            QuietspikeError: if one gave up for a reason that is no placement's fault.
        """
        try:
            while self._waiting or self._pending:
                while self._waiting and len(self._pending) < self._room.trials:
                    task = self._waiting.popleft()
                    self._pending[self._remote.remote(self._shared, task, os.getcwd())] = task
                self._take_ended()
                watch()
        finally:
            for reference in self._pending:  # a shared cluster would go on with what is left
                ray.cancel(reference, force=True)

    def _take_ended(self) -> None:
        """Wait a moment for tasks to end."""
        done, _ = ray.wait(list(self._pending), timeout=0.5)
        for reference in done:
            task = self._pending.pop(reference)
            try:
                complaint = ray.get(reference)
            except RayTaskError as error:
                raise QuietspikeError(f"a worker of Ray gave up: {describe(error.cause)}") from error
            except RayError:  # whatever killed its worker: a signal, the lack of memory, the loss of a node
                self._lose(task)
                continue
            if complaint is not None:
                raise QuietspikeError(complaint)

    def _lose(self, task: Task) -> None:
        self._job.tracker.end_named(f"seed {task.seed}: {task.design.label}")
        self._deaths[task] += 1
        if self._deaths[task] < DEATHS:
            self._waiting.appendleft(task)
        else:
            task.record(self._job, Outcome.failed(f"its worker died {DEATHS} times"))


class PlacementSearch(OptunaSearch):
    """OptunaSearch on the search's own study: suggestions are claims, so that both engines visit the same placements.

    Args:
        job: names the study.

    Attributes:
        complaint: why a worker gave up the whole search; ``None`` where none did.
    """

    def __init__(self, job: Job) -> None:
        study, goals = job.open_study(), job.experiment.search.goals
        super().__init__(
            job.space.distributions,
            metric=list(goals.figures),
            mode=["max", *("min" for _ in goals.costs)],
            storage=study.storage,
            study_name=STUDY_NAME,
        )
        self._job = job
        self._journal = study
        self._claims: dict[str, Claim] = {}
        self._tidied = 0.0
        self.complaint: str | None = None

    def __reduce__(self) -> tuple[type[PlacementSearch], tuple[Job]]:
        """Ray pickles what it is given, and locks cannot be: a copy opens the journal anew."""
        return PlacementSearch, (self._job,)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next placement; ``None`` while a running trial may still be lost and come back."""
        claim = None
        with self._complaining():
            claim = self._journal.claim() if self.complaint is None else None
        if claim is None:
            return None if self._claims else str(Searcher.FINISHED)
        self._claims[trial_id] = claim
        return {"number": claim.number, "design": claim.design.json}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record a trial's outcome; a worker that died gives none, and its placement is queued again."""
        claim = self._claims.pop(trial_id)
        if error or not result or "outcome" not in result:
            complaint = (result or {}).get("complaint")
            if complaint is not None:
                self.complaint = complaint
                return
            with self._complaining():
                self._journal.lose(claim)
            self._job.tracker.end_named(f"trial {claim.number}: {claim.design.label}")
            return
        with self._complaining():
            self._journal.finish(claim, Outcome.of(json.loads(result["outcome"])))
        if time.monotonic() - self._tidied > TIDY_EVERY:  # it looks at all trials; at the end it is done once more
            self._job.tidy(self._journal)
            self._tidied = time.monotonic()

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """A full disk becomes the complaint: Ray would take what is raised here for the trial's own failure."""
        try:
            with room_asked():
                yield
        except QuietspikeError as error:
            self.complaint = str(error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal has everything."""


class _WatchCallback(tune.Callback):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __reduce__(self) -> tuple[type[_WatchCallback], tuple[Watch]]:
        """A pickled copy shows nothing: the console is the driver's."""
        return _WatchCallback, (_show_nothing,)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._watch()


def _show_nothing() -> None:
    pass


class Judge:
    """Answers ``SearchStudy.goes_on`` for workers that cannot reach the journal; runs where the driver does.

    It keeps nothing of its own: one that was killed is replaced.
    """

    def __init__(self, job: Job, folder: str) -> None:
        os.chdir(folder)
        self._study = job.open_study()

    def goes_on(self, claim: Claim, epoch: int, values: dict[str, float]) -> bool:
        """Whether a trial goes on behind a rung."""
        return self._study.goes_on(claim, epoch, values)


def _start_judge(job: Job) -> Any:
    """Its handle; ``None`` where no trial is ever stopped early."""
    if not job.experiment.rungs:
        return None
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)(Judge)
    return remote.remote(job, os.getcwd())


def _ask(judge: Any, claim: Claim, epoch: int, values: Mapping[str, float]) -> bool:
    """What the judge says; what it raises is raised as it was, so that a full disk is known as one."""
    try:
        return bool(ray.get(judge.goes_on.remote(claim, epoch, values)))
    except RayTaskError as error:
        raise error.cause from None


def _run_trial(config: dict[str, Any], job: Job, folder: str, judge: Any) -> dict[str, Any]:
    claim = Claim(config["number"], Design.from_json(config["design"]))
    figures = job.experiment.search.goals.figures
    missing = missing_here(job, folder)
    if missing is not None:
        return {**dict.fromkeys(figures, math.nan), "complaint": missing}
    prepare_worker(job.threads)
    try:
        with room_asked():
            outcome = job.evaluate_claim(claim, 0, partial(_ask, judge))
    except QuietspikeError as error:
        return {**dict.fromkeys(figures, math.nan), "complaint": str(error)}
    shown = {figure: {**outcome.totals, "accuracy": outcome.accuracy}.get(figure, math.nan) for figure in figures}
    return {**shown, "outcome": json.dumps(outcome.data)}  # as text: Ray would flatten a mapping


def _run_task(job: Job, task: Task, folder: str) -> str | None:
    missing = missing_here(job, folder)
    if missing is not None:
        return missing
    prepare_worker(job.threads)
    try:
        with room_asked():
            task.run(job, worker=0)
    except QuietspikeError as error:
        return str(error)
    return None
