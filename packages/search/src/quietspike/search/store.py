"""MLflow's store: opened by one process at a time, and asked; whatever goes wrong there is a TrackingError."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# MLflow starts its telemetry while it is imported, so this stands before it; what the user has set holds.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException

from quietspike.core import QuietspikeError

IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's settings: its own would try a server that is not there for some five minutes."""

NO_STORE = "a folder is no store; give a database, such as sqlite:///mlflow.db, or a server, such as http://host:5000"
GONE = "RESOURCE_DOES_NOT_EXIST"
TAKEN = "RESOURCE_ALREADY_EXISTS"
REFUSALS = (GONE, TAKEN, "INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""MLflow's codes for what will not be taken another time either."""


class TrackingError(QuietspikeError):
    """The tracking store cannot be reached."""


class AwayError(TrackingError):
    """It does not answer now, and may later."""


class RefusedError(TrackingError):
    """It has answered, and will not take this.

    Attributes:
        gone: whether it is since it does not have the run, or the group, that this belongs to.
    """

    gone: bool = False


@dataclass(frozen=True)
class Group:
    """MLflow's experiment, which it calls a group of runs.

    Args:
        uri: of the store.
        name: of the group.
        artifacts: where it keeps its files; where the store itself says so, if ``None``.
    """

    uri: str
    name: str
    artifacts: str | None = None


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store; ``None`` for any other."""
    found = re.match(r"sqlite:///([^?]+)", uri)
    return Path(found[1]) if found else None


@contextmanager
def opening(uri: str) -> Iterator[MlflowClient]:
    """A client of a store that may not exist yet; a server that does not answer is given up within seconds.

    Raises:
        TrackingError: for whatever is raised meanwhile: each kind of store has errors of its own.
    """
    for talker in ("mlflow.store.db.utils", "alembic", "urllib3.connectionpool"):  # of tables, tracebacks and tries
        logging.getLogger(talker).setLevel(logging.CRITICAL)
    with _explained(uri), _impatiently(), _alone(uri):
        yield MlflowClient(uri)


def find_group(client: MlflowClient, group: Group) -> str:
    """The id of a group of runs, which is made if it is not there.

    Raises:
        TrackingError: if somebody has deleted it; the store keeps its name.
    """
    found = client.get_experiment_by_name(group.name)
    if found is None:
        try:
            return str(client.create_experiment(group.name, artifact_location=group.artifacts))
        except MlflowException as error:
            found = client.get_experiment_by_name(group.name)
            if error.error_code != TAKEN or found is None:
                raise
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        where = f"tracking.experiment: {group.name}: was deleted in {group.uri}"
        raise TrackingError(f"{where}; restore it there, or give another name")
    return str(found.experiment_id)


def is_active(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has a run, and nobody has deleted it."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
    except MlflowException as error:
        if error.error_code == GONE:
            return False
        raise


def find_runs(client: MlflowClient, group: str, tags: Mapping[str, str]) -> list[Run]:
    """All runs of a group that have these tags."""
    query = " and ".join(f"tags.`{key}` = {_quoted(value)}" for key, value in tags.items())
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([group], query, max_results=1000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return runs


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        raise _explain(error, uri) from error


def _explain(error: Exception, uri: str) -> TrackingError:
    text = " ".join(str(error).split()) or type(error).__name__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = re.split(r"(?<=[\w')]\.) (?=[A-Z])", lines[0])[0].removesuffix(".")  # MLflow's others give advice
    if re.match(r"file:|(?!databricks)[^:]*$", uri):
        reason = NO_STORE
    kind: type[TrackingError] = TrackingError
    code = error.error_code if isinstance(error, MlflowException) else None
    if code in REFUSALS:
        kind = RefusedError
    elif _is_away(error, text, uri):
        kind = AwayError
    explained = kind(f"tracking.uri: {uri}: {reason}")
    if isinstance(explained, RefusedError):
        explained.gone = code == GONE
    return explained


def _is_away(error: Exception, text: str, uri: str) -> bool:
    """Of a server: no connection, no answer in time, or one that says that it cannot now; of a file: it is locked."""
    if database_file(uri) is not None:
        return "database is locked" in text
    silent = {"ConnectionError", "Timeout", "RetryError"} & {kind.__name__ for kind in type(error).__mro__}
    failed = re.search(r"failed with (timeout )?exception|error code 5\d\d", text)
    return uri.startswith("http") and bool(urlsplit(uri).hostname and (silent or failed))


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
            os.environ.pop(key, None)  # another thread's, too
