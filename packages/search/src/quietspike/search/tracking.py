"""MLflow: a parent run for the search, a child run for each trial and confirmation.

A child's parameters are only what varies between children (a label for each site, the seed of a confirmation), so that
MLflow's own comparison shows what matters; everything else stands in the parent.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from quietspike.core import QuietspikeError
from quietspike.core.cost import Cost
from quietspike.core.training import EpochRow
from quietspike.search.config import Experiment
from quietspike.search.liveness import is_alive, who_am_i

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it announces the tables of a new store
logging.getLogger("alembic").setLevel(logging.WARNING)

FOLDER_TAG = "quietspike.folder"
KIND_TAG = "quietspike.kind"
REASON_TAG = "quietspike.reason"
WORKER_TAGS = {key: f"quietspike.worker.{key}" for key in ("host", "pid", "started")}
BATCH = 100
"""Parameters or tags that MLflow takes in one request."""

CHANGEABLE = (
    *("name", "device", "output", "confirm", "tracking"),
    *(f"search.{key}" for key in ("engine", "trials", "workers", "hypervolume_reference")),
)
"""Keys that a search may go on with in another value: tags, since MLflow's parameters are final."""

IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's settings while a store is opened: its own would try a server that is not there for some five minutes."""


class TrackingError(QuietspikeError):
    """The tracking store cannot be reached; it ends the search, for no placement is to blame."""


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

    def log_epoch(self, row: EpochRow) -> None:
        """All metrics of an epoch, in one request."""
        metrics = {
            "accuracy": row.accuracy,  # first: MLflow's comparison begins with the first
            **cost_metrics(row.cost),
            "loss": row.loss,
            "train_loss": row.train_loss,
            "train_accuracy": row.train_accuracy,
            "learning_rate": row.learning_rate,
            "seconds": row.seconds,
        }
        self.log_metrics(metrics, step=row.epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Metrics, in one request."""
        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
        with _reaching(self._uri) as client:
            client.log_batch(self._run_id, metrics=entries)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file."""
        with _reaching(self._uri) as client:
            client.log_artifact(self._run_id, str(path), folder)

    def end(self, status: str, reason: str | None = None) -> None:
        """End it as FINISHED, FAILED or KILLED; a tag says why."""
        with _reaching(self._uri) as client:
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
            kind: ``trial``, ``confirmation`` or ``training``.
            name: shown by MLflow.
            params: what varies between children.
        """
        worker = {tag: str(who_am_i()[key]) for key, tag in WORKER_TAGS.items()}
        tags = {MLFLOW_PARENT_RUN_ID: self.parent_id, MLFLOW_RUN_NAME: name, KIND_TAG: kind, **worker}
        with _reaching(self.uri) as client:
            run = TrackedRun(self.uri, _create(client, self.experiment_id, tags, params))
        try:
            yield run
        except TrackingError:
            raise
        except Exception as error:
            run.end("FAILED", describe(error))
            raise
        except BaseException as error:
            run.end("KILLED", type(error).__name__)
            raise
        run.end("FINISHED")

    def end_dead(self) -> None:
        """End the child runs whose worker is dead."""
        self._end_children(lambda run: not _has_worker(run))

    def end_all(self) -> None:
        """End all child runs, for a driver that knows of no worker any more."""
        self._end_children(lambda run: True)

    def _end_children(self, is_orphan: Callable[[Run], bool]) -> None:
        query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent_id}' and attributes.status = 'RUNNING'"
        with _reaching(self.uri) as client:
            orphans = [run for run in _search(client, self.experiment_id, query) if is_orphan(run)]
        for run in orphans:
            TrackedRun(self.uri, run.info.run_id).end("KILLED", "its worker died")


def open_tracker(experiment: Experiment, record: Mapping[str, str]) -> Tracker:
    """The tracking store, with the search's parent run: a new one, or the one of the same folder that is gone on with.

    Args:
        experiment: its configuration becomes the parent's parameters.
        record: versions and the like, as tags.

    Raises:
        TrackingError: if the store cannot be reached; names its URI.
    """
    uri = tracking_uri(experiment)
    with _impatiently(), _reaching(uri) as client:
        experiment_id = _experiment_id(client, experiment, uri)
        folder = str(experiment.folder.resolve())
        mark = '"' if "'" in folder else "'"
        found = _search(client, experiment_id, f"tags.`{FOLDER_TAG}` = {mark}{folder}{mark}")
        flat = {key: str(value) for key, value in flatten(experiment.data).items()}
        changeable = {key: value for key, value in flat.items() if key.startswith(CHANGEABLE)}
        tags = {**changeable, **record, FOLDER_TAG: folder, KIND_TAG: "search", MLFLOW_RUN_NAME: experiment.folder.name}
        if found:
            parent = found[0].info.run_id
            client.update_run(parent, status="RUNNING")
            client.log_batch(parent, tags=[RunTag(key, value) for key, value in tags.items()])
        else:
            params = {key: value for key, value in flat.items() if key not in changeable}
            parent = _create(client, experiment_id, tags, params)
    return Tracker(uri, experiment_id, parent)


def tracking_uri(experiment: Experiment) -> str:
    """The experiment's own, else the environment's ``MLFLOW_TRACKING_URI``, else SQLite in the output folder."""
    configured = experiment.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{experiment.output.resolve() / 'mlflow.db'}"


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


def _experiment_id(client: MlflowClient, experiment: Experiment, uri: str) -> str:
    name = experiment.tracking.experiment
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = uri.startswith("sqlite:")
    artifacts = (experiment.output.resolve() / "artifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=artifacts))


def _create(client: MlflowClient, experiment_id: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
    run_id: str = client.create_run(experiment_id, tags=dict(tags)).info.run_id
    entries = [Param(key, str(value)) for key, value in params.items()]
    for start in range(0, len(entries), BATCH):
        client.log_batch(run_id, params=entries[start : start + BATCH])
    return run_id


def _search(client: MlflowClient, experiment_id: str, query: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _has_worker(run: Run) -> bool:
    tags = run.data.tags
    if not set(WORKER_TAGS.values()) <= tags.keys():
        return False
    host, pid, started = (tags[WORKER_TAGS[key]] for key in ("host", "pid", "started"))
    return is_alive({"host": host, "pid": int(pid), "started": float(started)})


@contextmanager
def _reaching(uri: str) -> Iterator[MlflowClient]:
    """A client of the store.

    Raises:
        TrackingError: for whatever is raised meanwhile: each kind of store has errors of its own.
    """
    try:
        yield MlflowClient(uri)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise TrackingError(f"tracking.uri: {uri}: {lines[0]}") from error


@contextmanager
def _impatiently() -> Iterator[None]:
    """A store that does not answer is given up within seconds, unless the user's environment says otherwise."""
    ours = {key: value for key, value in IMPATIENCE.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key in ours:
            del os.environ[key]
