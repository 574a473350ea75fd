"""MLflow: a parent run for the search, a child run for each trial and confirmation.

A child's parameters are only what varies between children (a label for each site, the seed of a confirmation), so that
MLflow's own comparison shows what matters; everything else stands in the parent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# MLflow starts its telemetry while it is imported, so this stands before it; what the user has set holds.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Metric, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from quietspike.core.cost import Cost
from quietspike.core.training import EpochRow
from quietspike.search.config import Experiment
from quietspike.search.liveness import is_alive, who_am_i
from quietspike.search.store import TrackingError as TrackingError  # raised by all that is here
from quietspike.search.store import create_run, find_group, find_runs, opening, reaching, tracking_uri

FOLDER_TAG = "quietspike.folder"
KIND_TAG = "quietspike.kind"
REASON_TAG = "quietspike.reason"
STOPPED_TAG = "quietspike.stopped"
WORKER_TAGS = {key: f"quietspike.worker.{key}" for key in ("host", "pid", "started")}
CHANGEABLE = (
    *("name", "device", "output", "confirm", "tracking"),
    *(f"search.{key}" for key in ("engine", "trials", "workers", "hypervolume_reference")),
)
"""Keys that a search may go on with in another value: tags, since MLflow's parameters are final."""


class TrackedRun:
    """One open MLflow run.

    Args:
        uri: of the tracking store.
        run_id: of the run.

    Raises:
        TrackingError: from each method, if the store cannot be reached.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self._uri = uri
        self._run_id = run_id
        self.stopped = False

    def log_epoch(self, row: EpochRow) -> None:
        """All metrics of an epoch, in one request."""
        self.log_metrics(epoch_metrics(row), step=row.epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Metrics, in one request."""
        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        with reaching(self._uri) as client:
            client.log_batch(self._run_id, metrics=entries)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file."""
        with reaching(self._uri) as client:
            client.log_artifact(self._run_id, str(path), folder)

    def stop(self, epoch: int) -> None:
        """End it as KILLED, since FINISHED is for full results; a tag names the epoch that it was stopped after."""
        with reaching(self._uri) as client:
            client.set_tag(self._run_id, STOPPED_TAG, str(epoch))
        self.end("KILLED", f"stopped early after epoch {epoch}")
        self.stopped = True

    def end(self, status: str, reason: str | None = None) -> None:
        """End it as FINISHED, FAILED or KILLED; a tag says why."""
        with reaching(self._uri) as client:
            if reason is not None:
                client.set_tag(self._run_id, REASON_TAG, reason)
            client.set_terminated(self._run_id, status)


@dataclass(frozen=True)
class Tracker:
    """The tracking store of one search; plain data, so that it can be handed to workers.

    Args:
        uri: MLflow's tracking URI.
        experiment_id: MLflow's group of runs.
        parent_id: the search's run.
    """

    uri: str
    experiment_id: str
    parent_id: str

    @property
    def parent(self) -> TrackedRun:
        """The search's own run."""
        return TrackedRun(self.uri, self.parent_id)

    @contextmanager
    def child(self, kind: str, name: str, params: Mapping[str, Any]) -> Iterator[TrackedRun]:
        """A child run; it ends as FAILED, with the reason, where the block raises, and as KILLED by Ctrl-C.

        Args:
            kind: ``trial`` or ``confirmation``.
            name: shown by MLflow.
            params: what varies between children.
        """
        tags = {MLFLOW_PARENT_RUN_ID: self.parent_id, MLFLOW_RUN_NAME: name, KIND_TAG: kind, **_worker_tags()}
        with reaching(self.uri) as client:
            run = TrackedRun(self.uri, create_run(client, self.experiment_id, tags, params))
        with _ending(run):
            yield run

    def end_dead(self) -> None:
        """End the child runs whose worker is dead."""
        self._end_children(lambda run: not _has_worker(run))

    def end_all(self) -> None:
        """End all child runs, for a driver that knows of no worker any more."""
        self._end_children(lambda run: True)

    def _end_children(self, is_orphan: Callable[[Run], bool]) -> None:
        _end_runs(self.uri, self.experiment_id, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent_id}'", is_orphan)


def open_tracker(experiment: Experiment, record: Mapping[str, str]) -> Tracker:
    """The tracking store, with the search's parent run: a new one, or the one of the same folder that is gone on with.

    Args:
        experiment: its configuration becomes the parent's parameters.
        record: versions and the like, as tags.

    Raises:
        TrackingError: if the store cannot be reached; names its URI.
    """
    uri = tracking_uri(experiment)
    flat = _texts(experiment)
    changeable = {key: value for key, value in flat.items() if key.startswith(CHANGEABLE)}
    tags = {**changeable, **record, **_tags(experiment, "search"), MLFLOW_RUN_NAME: experiment.folder.name}
    with opening(uri) as client:
        group = find_group(client, experiment, uri)
        found = find_runs(client, group, _query(experiment, "search"))
        if found:
            parent = found[0].info.run_id
            client.update_run(parent, status="RUNNING")
            client.log_batch(parent, tags=[RunTag(key, value) for key, value in tags.items()])
        else:
            params = {key: value for key, value in flat.items() if key not in changeable}
            parent = create_run(client, group, tags, params)
    return Tracker(uri, group, parent)


@contextmanager
def track_training(
    experiment: Experiment, name: str, sites: Mapping[str, str], record: Mapping[str, str]
) -> Iterator[TrackedRun]:
    """A run for one training outside of the search, which it leaves alone; it ends as ``Tracker.child``'s do.

    The tag ``quietspike.folder`` is the search's, so that both are found together.

    Args:
        experiment: its configuration becomes the run's parameters.
        name: shown by MLflow.
        sites: parameters too.
        record: versions and the like, as tags.

    Raises:
        TrackingError: if the store cannot be reached; names its URI.
    """
    uri = tracking_uri(experiment)
    tags = {**record, **_tags(experiment, "training"), MLFLOW_RUN_NAME: name, **_worker_tags()}
    with opening(uri) as client:
        group = find_group(client, experiment, uri)
        _end_runs(uri, group, _query(experiment, "training"), lambda run: not _has_worker(run))
        own = TrackedRun(uri, create_run(client, group, tags, {**_texts(experiment), **sites}))
    with _ending(own):
        yield own


def epoch_metrics(row: EpochRow) -> dict[str, float]:
    """All that is logged of an epoch."""
    return {
        "accuracy": row.accuracy,  # first: MLflow's comparison begins with the first
        **cost_metrics(row.cost),
        "loss": row.loss,
        "train_loss": row.train_loss,
        "train_accuracy": row.train_accuracy,
        "learning_rate": row.learning_rate,
        "seconds": row.seconds,
    }


def cost_metrics(cost: Cost) -> dict[str, float]:
    """The totals, and the firing rate of each neuron layer."""
    rates = {f"firing_rate/{name}": rate for name, rate in firing_rates(cost).items()}
    return {**cost.totals, **rates}


def firing_rates(cost: Cost) -> dict[str, float]:
    """Spikes a neuron and step, by layer."""
    return {layer.layer.removesuffix(".neuron"): layer.firing_rate for layer in cost.neuron_layers}


def describe(error: BaseException) -> str:
    """One line for an error."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat


def _texts(experiment: Experiment) -> dict[str, str]:
    return {key: str(value) for key, value in flatten(experiment.data).items()}


def _tags(experiment: Experiment, kind: str) -> dict[str, str]:
    return {FOLDER_TAG: str(experiment.folder.resolve()), KIND_TAG: kind}


def _query(experiment: Experiment, kind: str) -> str:
    """For the runs that have ``_tags``."""
    mark = '"' if "'" in str(experiment.folder.resolve()) else "'"
    return " and ".join(f"tags.`{key}` = {mark}{value}{mark}" for key, value in _tags(experiment, kind).items())


def _worker_tags() -> dict[str, str]:
    return {tag: str(who_am_i()[key]) for key, tag in WORKER_TAGS.items()}


@contextmanager
def _ending(run: TrackedRun) -> Iterator[None]:
    """End a run as the block ends: FINISHED, FAILED with the reason, or KILLED by Ctrl-C; not one that was stopped."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        run.end("FAILED", describe(error))
        raise
    except BaseException as error:
        run.end("KILLED", type(error).__name__)
        raise
    if not run.stopped:
        run.end("FINISHED")


def _end_runs(uri: str, group: str, query: str, is_orphan: Callable[[Run], bool]) -> None:
    with reaching(uri) as client:
        running = find_runs(client, group, f"{query} and attributes.status = 'RUNNING'")
    for run in filter(is_orphan, running):
        TrackedRun(uri, run.info.run_id).end("KILLED", "its worker died")


def _has_worker(run: Run) -> bool:
    tags = run.data.tags
    if not set(WORKER_TAGS.values()) <= tags.keys():
        return False
    host, pid, started = (tags[WORKER_TAGS[key]] for key in ("host", "pid", "started"))
    return is_alive({"host": host, "pid": int(pid), "started": float(started)})
