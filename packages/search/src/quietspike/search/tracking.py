"""MLflow: a parent run for the search, a child run for each trial and confirmation.

A child's parameters are only what varies between children (a label for each site, the seed of a confirmation), so that
MLflow's own comparison shows what matters; everything else stands in the parent.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from quietspike.core import OptionError
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

CHANGEABLE = ("search.trials", "search.workers", "search.engine", "confirm", "tracking", "output", "device", "name")
"""Keys that a search may go on with in another value: tags, since MLflow's parameters are final."""


class TrackedRun:
    """One open MLflow run.

    Args:
        client: of the tracking store.
        run_id: of the run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

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
        self.client.log_batch(self.run_id, metrics=[Metric(k, float(v), now, step) for k, v in metrics.items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def set_tag(self, key: str, value: str) -> None:
        """A tag; an earlier value is replaced."""
        self.client.set_tag(self.run_id, key, value)


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
        return TrackedRun(MlflowClient(self.uri), self.parent_id)

    @contextmanager
    def child(self, kind: str, name: str, params: Mapping[str, Any]) -> Iterator[TrackedRun]:
        """A child run; it ends as FAILED, with the reason, where the block raises.

        Args:
            kind: ``trial`` or ``confirmation``.
            name: shown by MLflow.
            params: what varies between children.
        """
        worker = {tag: str(who_am_i()[key]) for key, tag in WORKER_TAGS.items()}
        tags = {MLFLOW_PARENT_RUN_ID: self.parent_id, MLFLOW_RUN_NAME: name, KIND_TAG: kind, **worker}
        run = TrackedRun(MlflowClient(self.uri), _create(self.uri, self.experiment_id, tags, params))
        try:
            yield run
        except Exception as error:
            run.set_tag(REASON_TAG, describe(error))
            run.client.set_terminated(run.run_id, "FAILED")
            raise
        run.client.set_terminated(run.run_id, "FINISHED")

    def end(self, status: str) -> None:
        """End the search's run, as FINISHED or KILLED."""
        MlflowClient(self.uri).set_terminated(self.parent_id, status)

    def end_orphans(self) -> None:
        """End the child runs whose worker is dead."""
        client = MlflowClient(self.uri)
        mine = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent_id}' and attributes.status = 'RUNNING'"
        for run in _search(client, self.experiment_id, mine):
            tags = run.data.tags
            worker = {key: tags.get(tag, "0") for key, tag in WORKER_TAGS.items()}
            if not is_alive({**worker, "pid": int(worker["pid"]), "started": float(worker["started"])}):
                client.set_tag(run.info.run_id, REASON_TAG, "its worker died")
                client.set_terminated(run.info.run_id, "KILLED")


def open_tracker(experiment: Experiment, record: Mapping[str, str]) -> Tracker:
    """The tracking store, with the search's parent run: a new one, or the one of the same folder that is gone on with.

    Args:
        experiment: its configuration becomes the parent's parameters.
        record: versions and the like, as tags.

    Raises:
        OptionError: if the store cannot be reached; names its URI.
    """
    uri = tracking_uri(experiment)
    client = MlflowClient(uri)
    try:
        experiment_id = _experiment_id(client, experiment, uri)
        folder = str(experiment.folder.resolve())
        found = _search(client, experiment_id, f"tags.`{FOLDER_TAG}` = '{folder}'")
        flat = {key: str(value) for key, value in flatten(experiment.data).items()}
        changeable = {key: value for key, value in flat.items() if key.startswith(CHANGEABLE)}
        tags = {**changeable, **record, FOLDER_TAG: folder, KIND_TAG: "search", MLFLOW_RUN_NAME: experiment.folder.name}
        if found:
            parent = found[0].info.run_id
            client.update_run(parent, status="RUNNING")
            client.log_batch(parent, tags=[RunTag(key, value) for key, value in tags.items()])
        else:
            params = {key: value for key, value in flat.items() if key not in changeable}
            parent = _create(uri, experiment_id, tags, params)
    except MlflowException as error:
        raise OptionError(f"tracking.uri: {uri}: {str(error).splitlines()[0]}") from error
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


def _create(uri: str, experiment_id: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
    client = MlflowClient(uri)
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
