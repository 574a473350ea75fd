"""MLflow's store: opened by one process at a time, and asked; whatever goes wrong there is a TrackingError."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Param, Run

from quietspike.core import QuietspikeError
from quietspike.search.config import Experiment

BATCH = 100
"""Parameters or tags that MLflow takes in one request."""

IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's settings while a store is opened: its own would try a server that is not there for some five minutes."""

NO_STORE = "a folder is no store; give a database, such as sqlite:///mlflow.db, or a server, such as http://host:5000"


class TrackingError(QuietspikeError):
    """The tracking store cannot be reached; it ends the search, for no placement is to blame."""


def tracking_uri(experiment: Experiment) -> str:
    """The experiment's own, else the environment's ``MLFLOW_TRACKING_URI``, else SQLite in the output folder."""
    configured = experiment.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{experiment.output.resolve() / 'mlflow.db'}"


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store; ``None`` for any other."""
    found = re.match(r"sqlite:///([^?]+)", uri)
    return Path(found[1]) if found else None


@contextmanager
def reaching(uri: str) -> Iterator[MlflowClient]:
    """A client of the store.

    Raises:
        TrackingError: for whatever is raised meanwhile: each kind of store has errors of its own.
    """
    with _explained(uri):
        yield MlflowClient(uri)


@contextmanager
def opening(uri: str) -> Iterator[MlflowClient]:
    """A client of a store that may not exist yet; a server that does not answer is given up within seconds.

    Raises:
        TrackingError: as ``reaching``.
    """
    for talker in ("mlflow.store.db.utils", "alembic"):  # they announce the tables of a new store
        logging.getLogger(talker).setLevel(logging.WARNING)
    with _explained(uri), _impatiently(), _alone(uri):
        yield MlflowClient(uri)


def find_group(client: MlflowClient, experiment: Experiment, uri: str) -> str:
    """The id of MLflow's group of runs, which is made if it is not there."""
    name = experiment.tracking.experiment
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = database_file(uri) is not None
    artifacts = (experiment.output.resolve() / "artifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=artifacts))


def create_run(client: MlflowClient, group: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
    """The id of a new run."""
    run_id: str = client.create_run(group, tags=dict(tags)).info.run_id
    entries = [Param(key, str(value)) for key, value in params.items()]
    for start in range(0, len(entries), BATCH):
        client.log_batch(run_id, params=entries[start : start + BATCH])
    return run_id


def find_runs(client: MlflowClient, group: str, query: str) -> list[Run]:
    """All runs of a group that a query finds."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([group], query, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = re.split(r"(?<=[\w')]\.) (?=[A-Z])", lines[0])[0].removesuffix(".")  # MLflow's others give advice
        if re.match(r"file:|(?!databricks)[^:]*$", uri):
            reason = NO_STORE
        raise TrackingError(f"tracking.uri: {uri}: {reason}") from error


def _alone(uri: str) -> AbstractContextManager[object]:
    """SQLite's tables are made by one process: of two at the same moment, one would fail."""
    path = database_file(uri)
    return nullcontext() if path is None else FileLock(f"{path}.lock")


@contextmanager
def _impatiently() -> Iterator[None]:
    """MLflow's patience is ours for a moment, unless the user's environment has set it."""
    ours = {key: value for key, value in IMPATIENCE.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key in ours:
            del os.environ[key]
