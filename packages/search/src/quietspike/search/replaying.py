"""One run's lines, sent to MLflow in order, with a note of how far that came.

Between the sending and the note the process may be killed, and what comes next is sent again. Nothing is doubled by
that: a run is found by its tags, its metrics carry the time at which they were measured (of two that agree in
everything MLflow keeps one), and parameters, tags, artifacts and ends are what they were.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from quietspike.search.spool import RUN_TAG, Note, Spool, SpooledRun
from quietspike.search.store import find_runs

LIMITS = {"metrics": 1000, "params": 100, "tags": 100}
"""What MLflow takes in one request."""


class Replay:
    """Sends what is new of one run.

    Args:
        client: of the store.
        group: MLflow's id of the group of runs.
        spool: where the run's parent lies, too.
        run: whose lines.
    """

    def __init__(self, client: MlflowClient, group: str, spool: Spool, run: SpooledRun) -> None:
        self._client = client
        self._group = group
        self._spool = spool
        self._run = run
        self._note = Note(run)
        self._batch: dict[str, list[Any]] = {kind: [] for kind in LIMITS}

    def send(self) -> str:
        """Send it; gives MLflow's id of the run."""
        note = self._note
        for entry, offset in self._run.lines(note.offset):
            note.over = note.over and entry["op"] != "resume"
            if not note.over:  # else its driver had given it up
                getattr(self, f"_{entry['op']}")(entry)
            note.over = note.over or entry["op"] == "end"
            note.offset = offset
            if any(len(self._batch[kind]) >= limit for kind, limit in LIMITS.items()):
                self._flush()
        self._flush()
        return self._run_id

    @property
    def _run_id(self) -> str:
        return str(self._note.run_id)

    def _flush(self) -> None:
        """Send what has gathered, and note it."""
        self._send_batch()
        self._note.write()

    def _send_batch(self) -> None:
        while any(self._batch.values()):
            part = {kind: entries[: LIMITS[kind]] for kind, entries in self._batch.items()}
            self._client.log_batch(self._run_id, part["metrics"], part["params"], part["tags"])
            self._batch = {kind: entries[LIMITS[kind] :] for kind, entries in self._batch.items()}

    def _begin(self, entry: Mapping[str, Any]) -> None:
        tags = dict(entry["tags"])
        if entry["parent"] is not None:
            parent = self._spool.run(entry["parent"])
            tags[MLFLOW_PARENT_RUN_ID] = Note(parent).run_id or self._of(parent).send()
        found = self._found(entry["find"])
        if found is None:
            self._note.write()  # from now on it may be there
            found = self._client.create_run(self._group, start_time=entry["time"], tags=tags)
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
            self._add_tags(tags)
        self._note.run_id = found.info.run_id
        self._note.write()
        missing = entry["params"].keys() - found.data.params.keys()  # MLflow's parameters are final
        self._batch["params"] += [Param(key, value) for key, value in entry["params"].items() if key in missing]

    def _found(self, find: Mapping[str, str] | None) -> Run | None:
        """The run, if the store has it: one that only this search makes need not be looked for at first."""
        if self._note.run_id is not None:
            return self._client.get_run(self._note.run_id)
        if find is None and not self._note.begun:
            return None
        tags = find or {RUN_TAG: self._run.name}
        return next(iter(find_runs(self._client, self._group, tags)), None)

    def _of(self, run: SpooledRun) -> Replay:
        return Replay(self._client, self._group, self._spool, run)

    def _metrics(self, entry: Mapping[str, Any]) -> None:
        at, step = entry["time"], entry["step"]
        self._batch["metrics"] += [Metric(key, value, at, step) for key, value in entry["values"].items()]

    def _resume(self, entry: Mapping[str, Any]) -> None:
        self._client.update_run(self._run_id, status="RUNNING")
        self._add_tags(entry["tags"])

    def _artifact(self, entry: Mapping[str, Any]) -> None:
        path = self._spool.folder / "files" / entry["file"]
        if path.exists():  # else it was sent, and the note of that was lost
            self._client.log_artifact(self._run_id, str(path), entry["folder"])
            shutil.rmtree(path.parent)

    def _end(self, entry: Mapping[str, Any]) -> None:
        self._add_tags(entry["tags"])
        self._send_batch()
        self._client.set_terminated(self._run_id, entry["status"], entry["time"])

    def _add_tags(self, tags: Mapping[str, str]) -> None:
        self._batch["tags"] += [RunTag(key, value) for key, value in tags.items()]
