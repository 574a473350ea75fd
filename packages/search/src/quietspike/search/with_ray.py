"""Ray Tune as an engine: the same study, on this machine or on the cluster that RAY_ADDRESS names.

The journal is the search's only memory. Ray's own state is never restored: after a kill the study is opened again, what
was under way is queued, and Ray Tune starts afresh with what is left.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Tune's own would end the trials and let the search go on
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
import torch

from quietspike.core import OptionError, QuietspikeError
from quietspike.search.confirmation import Task
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.processes import Watch, prepare_worker
from quietspike.search.results import Outcome
from quietspike.search.study import DEATHS, STUDY_NAME, Claim
from quietspike.search.tracking import describe

logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it tells of dead workers in tracebacks; the study says why


class RayEngine:
    """Ray Tune runs the trials, Ray tasks the confirmation."""

    def search(self, job: Job, watch: Watch) -> None:
        """Run trials until the study has as many as asked for."""
        shutil.rmtree(job.folder / "ray", ignore_errors=True)  # of a driver that was killed
        placements = PlacementSearch(job)
        with _cluster(job):
            trainable = tune.with_resources(
                tune.with_parameters(_run_trial, job=job, folder=os.getcwd(), judge=_start_judge(job)), _resources(job)
            )
            tuner = tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=placements,
                    num_samples=-1,  # the study counts the budget
                    max_concurrent_trials=job.workers,
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

    def confirm(self, job: Job, tasks: Sequence[Task], watch: Watch) -> None:
        """Run all tasks that have no outcome yet."""
        with _cluster(job):
            shared, resources = ray.put(job), _resources(job)
            options = {"num_cpus": resources["cpu"], "num_gpus": resources["gpu"], "max_retries": DEATHS - 1}
            remote = ray.remote(**options)(_run_task)
            pending = {remote.remote(shared, task, os.getcwd()): task for task in tasks}
            try:
                while pending:
                    done, _ = ray.wait(list(pending), timeout=0.5)
                    for reference in done:
                        _take(job, pending.pop(reference), reference)
                    watch()
            finally:
                for reference in pending:  # a shared cluster would go on with them
                    ray.cancel(reference, force=True)


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
        self.complaint: str | None = None

    def __reduce__(self) -> tuple[type[PlacementSearch], tuple[Job]]:
        """Ray pickles what it is given, and locks cannot be: a copy opens the journal anew."""
        return PlacementSearch, (self._job,)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next placement; ``None`` while a running trial may still be lost and come back."""
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
            self._journal.lose(claim)
            self._job.tracker.end_dead()
            return
        self._journal.finish(claim, Outcome.of(json.loads(result["outcome"])))
        self._job.tidy(self._journal)

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


def _take(job: Job, task: Task, reference: Any) -> None:
    """What became of a task.

    Raises:
        QuietspikeError: if it gave up for a reason that is no placement's fault.
    """
    try:
        complaint = ray.get(reference)
    except RayTaskError as error:
        raise QuietspikeError(f"a worker of Ray gave up: {describe(error.cause)}") from error
    except RayError:  # whatever killed its worker: a signal, the lack of memory, the loss of a node
        task.record(job, Outcome.failed(f"its worker died {DEATHS} times"))
        job.tracker.end_dead()
        return
    if complaint is not None:
        raise QuietspikeError(complaint)


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


def _run_trial(config: dict[str, Any], job: Job, folder: str, judge: Any) -> dict[str, Any]:
    os.chdir(folder)  # Tune's is the trial's own, where the experiment's relative paths lead nowhere
    prepare_worker(job.threads)
    claim = Claim(config["number"], Design.from_json(config["design"]))
    figures = job.experiment.search.goals.figures
    try:
        outcome = job.evaluate_claim(claim, 0, lambda *question: bool(ray.get(judge.goes_on.remote(*question))))
    except QuietspikeError as error:
        return {**dict.fromkeys(figures, math.nan), "complaint": str(error)}
    shown = {figure: {**outcome.totals, "accuracy": outcome.accuracy}.get(figure, math.nan) for figure in figures}
    return {**shown, "outcome": json.dumps(outcome.data)}  # as text: Ray would flatten a mapping


def _run_task(job: Job, task: Task, folder: str) -> str | None:
    os.chdir(folder)
    prepare_worker(job.threads)
    try:
        task.run(job, worker=0)
    except QuietspikeError as error:
        return str(error)
    return None


def _resources(job: Job) -> dict[str, float]:
    """Of one worker; where there are more workers than GPUs, they share them."""
    on_gpu = job.experiment.device != "cpu" and torch.cuda.is_available()
    gpus = ray.cluster_resources().get("GPU", 0.0) if on_gpu else 0.0
    return {"cpu": float(job.threads), "gpu": min(1.0, gpus / job.workers)}


@contextmanager
def _cluster(job: Job) -> Iterator[None]:
    """The cluster that Ray is connected to, or that RAY_ADDRESS names, or one on this machine for as long as this."""
    if ":" in job.experiment.device:
        raise OptionError(f"device={job.experiment.device!r}: Ray gives each worker its GPU; say cuda or auto")
    if ray.is_initialized():
        yield
        return
    own = "RAY_ADDRESS" not in os.environ
    cpus = {"num_cpus": job.workers * job.threads, "include_dashboard": False} if own else {}
    before = signal.getsignal(signal.SIGTERM)
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **cpus)
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would abort the driver
    try:
        yield
    finally:
        ray.shutdown()
