"""MLflow: a parent run for the search, a child run for each trial and confirmation.

A child's parameters are only what varies between children (a label for each site, the seed of a confirmation), so that
MLflow's own comparison shows what matters; everything else stands in the parent. All of it goes to the spool first, so
that no training waits for a store, or fails because of one; the driver sends it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quietspike.search.config import Experiment
from quietspike.search.liveness import is_alive, who_am_i
from quietspike.search.spool import RUN_TAG, SEARCH, Spool, new_name
from quietspike.search.tracked_run import TrackedRun, ending

if TYPE_CHECKING:  # it takes MLflow a second or two to be imported, and workers need none
    from quietspike.search.sending import Sender

FOLDER_TAG = "quietspike.folder"
KIND_TAG = "quietspike.kind"
RUN_NAME_TAG = "mlflow.runName"
WORKER_TAGS = {key: f"quietspike.worker.{key}" for key in ("host", "pid", "started")}
CHANGEABLE = (
    *("name", "device", "output", "confirm", "tracking"),
    *(f"search.{key}" for key in ("engine", "trials", "workers", "address", "cpus", "gpus", "hypervolume_reference")),
)
"""Keys that a search may go on with in another value: tags, since MLflow's parameters are final."""


@dataclass(frozen=True)
class Tracker:
    """Where a search's runs are logged; plain data, so that it can be handed to workers.

    Args:
        folder: of the spool, which all workers see.
        uri: MLflow's tracking URI.
        group: MLflow's name for the group of runs.
        artifacts: where MLflow keeps their files; ``None`` for a store that says so itself.
        search: name of the search's own run.
    """

    folder: Path
    uri: str
    group: str
    artifacts: str | None
    search: str

    @property
    def spool(self) -> Spool:
        """What is not in the store yet."""
        return Spool(self.folder)

    @property
    def parent(self) -> TrackedRun:
        """The search's own run."""
        return TrackedRun(self.spool.run(self.search))

    def sender(self, say: Callable[[str], None] = lambda line: None) -> Sender:
        """What takes the spool to the store, for the driver."""
        from quietspike.search.sending import Sender
        from quietspike.search.store import Group

        return Sender(self.spool, Group(self.uri, self.group, self.artifacts), say)

    @contextmanager
    def child(self, kind: str, name: str, params: Mapping[str, Any]) -> Iterator[TrackedRun]:
        """A child run; it ends as FAILED, with the reason, where the block raises, and as KILLED by Ctrl-C.

        Args:
            kind: ``trial`` or ``confirmation``.
            name: shown by MLflow.
            params: what varies between children.
        """
        tags = {RUN_NAME_TAG: name, KIND_TAG: kind, **_worker_tags()}
        run = _begin(self.spool, kind, self.search, tags, params)
        with ending(run):
            yield run

    def end_dead(self) -> None:
        """End the child runs whose worker is dead."""
        self._end(lambda tags: not _has_worker(tags))

    def end_all(self) -> None:
        """End all child runs, for a driver that knows of no worker any more."""
        self._end(lambda tags: True)

    def end_named(self, name: str) -> None:
        """End the child runs of this name, whose worker is lost wherever it was."""
        self._end(lambda tags: tags[RUN_NAME_TAG] == name)

    def _end(self, is_orphan: Callable[[Mapping[str, str]], bool]) -> None:
        _end_runs(self.spool, lambda begin: begin["parent"] == self.search and is_orphan(begin["tags"]))


def tracking_uri(experiment: Experiment) -> str:
    """The experiment's own, else the environment's ``MLFLOW_TRACKING_URI``, else SQLite in the output folder."""
    configured = experiment.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return configured or f"sqlite:///{experiment.output.resolve() / 'mlflow.db'}"


def find_tracker(experiment: Experiment) -> Tracker:
    """Where an experiment's runs are logged; nothing is opened, written or asked.

    What is for another store, or another group of runs, has another spool, and waits until that is meant again.
    """
    uri, group = tracking_uri(experiment), experiment.tracking.experiment
    local = uri.startswith("sqlite:")
    artifacts = (experiment.output.resolve() / "artifacts").as_uri() if local else None
    folder = experiment.folder / "tracking" / _digest(f"{uri} {group}")
    return Tracker(folder, uri, group, artifacts, f"{SEARCH}{_digest(str(experiment.folder.resolve()))}")


def open_tracker(experiment: Experiment, record: Mapping[str, str]) -> Tracker:
    """The tracker, with the search's parent run: a new one, or the one of the same folder that is gone on with.

    A store that does not answer now is no error: what is logged is kept.

    Args:
        experiment: its configuration becomes the parent's parameters.
        record: versions and the like, as tags.

    Raises:
        TrackingError: if there can be no such store; names its URI.
    """
    from quietspike.search.store import AwayError

    tracker = find_tracker(experiment)
    flat = _texts(experiment)
    changeable = {key: value for key, value in flat.items() if key.startswith(CHANGEABLE)}
    marks = _marks(experiment, "search")
    tags = {**changeable, **record, **marks, RUN_NAME_TAG: experiment.folder.name}
    parent = tracker.spool.run(tracker.search)
    with suppress(AwayError):
        tracker.sender().check(parent)
    if parent.path.exists():
        parent.take_over()
        parent.add("resume", tags=tags)
    else:
        params = {key: value for key, value in flat.items() if key not in changeable}
        tracker.spool.begin(tracker.search, parent=None, tags=tags, params=params, find=marks)
    return tracker


def send_spooled(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Send what was kept while the store was away, if anything was; where it still is, one line says so."""
    tracker = find_tracker(experiment)
    if tracker.spool.kept:
        from quietspike.search.sending import send_kept

        send_kept(tracker.sender(say))


@contextmanager
def track_training(
    experiment: Experiment,
    name: str,
    sites: Mapping[str, str],
    record: Mapping[str, str],
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[TrackedRun]:
    """A run for one training outside of the search, which it leaves alone; it ends as ``Tracker.child``'s do.

    The tag ``quietspike.folder`` is the search's, so that both are found together.

    Args:
        experiment: its configuration becomes the run's parameters.
        name: shown by MLflow.
        sites: parameters too.
        record: versions and the like, as tags.
        say: told in one line when the store does not answer, and where everything is kept.

    Raises:
        TrackingError: if there can be no such store; names its URI.
    """
    from quietspike.search.sending import sending
    from quietspike.search.store import AwayError

    tracker = find_tracker(experiment)
    tags = {**record, **_marks(experiment, "training"), RUN_NAME_TAG: name, **_worker_tags()}
    params = {**_texts(experiment), **sites}
    with suppress(AwayError):
        tracker.sender().connect()
    _end_runs(tracker.spool, lambda begin: begin["parent"] is None and not _has_worker(begin["tags"]))
    run = _begin(tracker.spool, "training", None, tags, params)
    with sending(tracker.sender(say)), ending(run):
        yield run


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat


def _texts(experiment: Experiment) -> dict[str, str]:
    return {key: str(value) for key, value in flatten(experiment.data).items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _marks(experiment: Experiment, kind: str) -> dict[str, str]:
    """Tags that tell the runs of a folder."""
    return {FOLDER_TAG: str(experiment.folder.resolve()), KIND_TAG: kind}


def _worker_tags() -> dict[str, str]:
    return {tag: str(who_am_i()[key]) for key, tag in WORKER_TAGS.items()}


def _begin(
    spool: Spool, kind: str, parent: str | None, tags: Mapping[str, str], params: Mapping[str, Any]
) -> TrackedRun:
    name = new_name(kind)
    texts = {key: str(value) for key, value in params.items()}
    return TrackedRun(spool.begin(name, parent=parent, tags={**tags, RUN_TAG: name}, params=texts, find=None))


def _end_runs(spool: Spool, is_orphan: Callable[[Mapping[str, Any]], bool]) -> None:
    """End what has not ended, by the first lines of the runs."""
    for run in spool.runs:
        with suppress(FileNotFoundError):  # it was sent to its end, and removed
            if not run.lasting and not run.ended and is_orphan(run.begin):
                run.take_over()
                TrackedRun(run).end("KILLED", "its worker died")


def _has_worker(tags: Mapping[str, str]) -> bool:
    if not set(WORKER_TAGS.values()) <= tags.keys():
        return False
    host, pid, started = (tags[WORKER_TAGS[key]] for key in ("host", "pid", "started"))
    return is_alive({"host": host, "pid": int(pid), "started": float(started)})
