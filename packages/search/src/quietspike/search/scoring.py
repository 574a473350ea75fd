"""Processes that score placements with a supernet's weights; what they found is kept in ``scores.csv``."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from quietspike.core import Placement, QuietspikeError
from quietspike.core.shared_weights import Scorer
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.processes import CONTEXT, begin_worker, signals_held
from quietspike.search.results import Outcome
from quietspike.search.study import DEATHS
from quietspike.search.supernet import SupernetTraining
from quietspike.search.tables import write_csv
from quietspike.search.tracked_run import describe

CHUNK = 32
"""Placements that a process is given at once; those that begin alike together."""


class ScoringCrew:
    """Scores placements, each once in a search's life: what a killed driver had written down is not scored again.

    Args:
        job: whose supernet has been trained.
        watch: called after each chunk with the number of scores so far.
    """

    def __init__(self, job: Job, watch: Callable[[int], None]) -> None:
        self._job = job
        self._watch = watch
        self._path = SupernetTraining.of(job).folder / "scores.csv"
        self._order = {site: [c.label for c in choices] for site, choices in job.space.choices.items()}
        self._executor: ProcessPoolExecutor | None = None
        self.scores: dict[Placement, Outcome] = read_scores(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def score(self, placements: Sequence[Placement]) -> list[Outcome]:
        """The outcome of each, in their order; one that raised has a reason.

        Raises:
            QuietspikeError: if processes die again and again.
        """
        left = sorted({p for p in placements if p not in self.scores}, key=self._beginning)
        deaths = 0
        while left:
            before = len(left)
            with suppress(BrokenProcessPool):
                self._run(left)
            left = [placement for placement in left if placement not in self.scores]
            self._write()
            if left:
                self.close()
                deaths = deaths + 1 if len(left) == before else 1
            if deaths >= DEATHS:
                raise QuietspikeError(f"the processes that score placements died {DEATHS} times")
        return [self.scores[placement] for placement in placements]

    def close(self) -> None:
        """End the processes, behind the placement that each is at; the next scores start new ones."""
        if self._executor is not None:
            self._ended.set()
            self._executor.shutdown(cancel_futures=True)
            self._executor = None

    def _beginning(self, placement: Placement) -> list[int]:
        labels = self._job.space.labels(Design(placement))
        return [order.index(labels[site]) for site, order in self._order.items()]

    def _run(self, placements: Sequence[Placement]) -> None:
        size = min(CHUNK, math.ceil(len(placements) / self._job.workers))
        pending: dict[Future[list[str]], Sequence[Placement]] = {}
        for start in range(0, len(placements), size):
            chunk = placements[start : start + size]
            with signals_held():  # it may start a process
                pending[self._open().submit(_score, [placement.json for placement in chunk])] = chunk
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                chunk = pending.pop(future)
                found = [Outcome.of(json.loads(text)) for text in future.result()]
                self.scores.update(zip(chunk, found, strict=True))
            self._watch(len(self.scores))

    def _open(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._ended = CONTEXT.Event()
            begun = self._job, CONTEXT.Value("i", 0), self._ended
            self._executor = ProcessPoolExecutor(self._job.workers, CONTEXT, initializer=_begin, initargs=begun)
        return self._executor

    def _write(self) -> None:
        rows = [
            {"placement": placement.json, "accuracy": outcome.accuracy, **outcome.totals, "reason": outcome.reason}
            for placement, outcome in sorted(self.scores.items(), key=lambda pair: pair[0].json)
        ]
        write_csv(self._path, rows)


def read_scores(path: Path) -> dict[Placement, Outcome]:
    """What ``scores.csv`` says; nothing where there is none."""
    if not path.exists():
        return {}
    scores = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            placement, reason = Placement.from_json(row.pop("placement")), row.pop("reason")
            figures = {name: float(text) for name, text in row.items() if text}
            scores[placement] = Outcome(figures.pop("accuracy", math.nan), figures, reason=reason or None)
    return scores


class _Process:
    """What one of the processes has: set when it begins, opened when it is first asked to score."""

    job: Job
    worker: int
    ended: Event
    scorer: Scorer | None = None


def _begin(job: Job, numbers: Any, ended: Event) -> None:
    begin_worker(job.threads)
    with numbers.get_lock():
        _Process.job, _Process.worker, _Process.ended = job, numbers.value, ended
        numbers.value += 1


def _score(placements: Sequence[str]) -> list[str]:
    if _Process.scorer is None:
        _Process.scorer = SupernetTraining.of(_Process.job).open_scorer(_Process.worker)
    left = itertools.takewhile(lambda _: not _Process.ended.is_set(), placements)
    return [json.dumps(_outcome(_Process.scorer, Placement.from_json(text)).data) for text in left]


def _outcome(scorer: Scorer, placement: Placement) -> Outcome:
    try:
        shown = scorer.score(placement)
    except Exception as error:  # a plugin may raise anything
        return Outcome.failed(describe(error))
    return Outcome(shown.accuracy, shown.cost.totals)
