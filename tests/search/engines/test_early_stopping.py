"""Searches that stop trials early, with both engines: what they leave, and what kills change."""

import csv
import errno
from unittest import mock

import psutil
import pytest

from quietspike.search.early_stopping import find_rungs
from quietspike.search.searching import read_search

from .conftest import wait_until

EARLY = {"candidates": ["gate", "none", "ta"], "early_stopping": {"min_epochs": 1, "reduction": 2}}
SHAPE = {"train": {"epochs": 3}, "confirm": {"seeds": 0, "uniform": None}}
RUNGS = find_rungs(3, 1, 2)


def new_stopping(new_search, **search):
    return new_search(search={**EARLY, **search}, **SHAPE)


@pytest.fixture(scope="session")
def stopping(new_search):
    """A search with early stopping that nothing happens to."""
    search = new_stopping(new_search)
    done = search.run()
    assert done.returncode == 0, done.stderr
    search.printed = done.stdout
    return search


def decisions(search):
    """By rung, placements and whether they went on, in the order of their trials."""
    study = search.study
    return {epoch: {p: v.goes_on for p, v in study._rung(epoch).visits.items()} for epoch in RUNGS}


def stop_tag(run):
    return run.data.tags.get("quietspike.stopped")


def test_a_stopped_trial_is_told_apart_everywhere(stopping):
    result = read_search(stopping.experiment)
    stopped = [t for t in result.trials if t.outcome.stopped]
    assert len(result.trials) == 8
    assert stopped
    assert {t.outcome.stopped for t in stopped} <= set(RUNGS)
    assert not {t.number for t in stopped} & {t.number for t in result.front}
    kept = {path.name for path in stopping.folder.glob("trials/*")}
    assert kept == {trial.placement.digest for trial in result.front}, "no checkpoint of a stopped one is left"
    with (stopping.folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["stopped"] for row in rows] == [str(t.outcome.stopped or "") for t in result.trials]
    assert [row["on_front"] for row in rows if row["stopped"]] == ["False"] * len(stopped)
    epochs = sum(t.outcome.stopped or 3 for t in result.trials)
    assert f"{len(stopped)} of 8 trials were stopped early: {epochs} epochs trained, of 24 without" in stopping.printed
    assert stopping.printed.count(": stopped after ") == len(stopped)
    runs = stopping.runs("trial")
    assert [stop_tag(run) for run in runs] == [t.outcome.stopped and str(t.outcome.stopped) for t in result.trials]
    assert [run.info.status == "KILLED" for run in runs] == [bool(t.outcome.stopped) for t in result.trials]
    assert [run.data.metrics["accuracy"] for run in runs] == [t.outcome.accuracy for t in result.trials]
    [parent] = stopping.runs("search")
    assert (parent.data.metrics["stopped"], parent.data.metrics["epochs_trained"]) == (len(stopped), epochs)


def test_kills_between_rungs_and_after_a_decision(new_search, stopping):
    search = new_stopping(new_search)
    search.block(step=4)  # in the second of three epochs: behind the first rung, before the second
    search.start()
    worker = search.blocked()
    assert [len(visits) for visits in decisions(search).values()] == [1, 0]
    search.block(step=1)  # it goes on behind its first epoch
    worker.kill()
    second = search.blocked(after=worker)
    search.unblock()
    wait_until(lambda: any(False in visits.values() for visits in decisions(search).values()))
    second.kill()  # at whatever moment after the first trial was stopped
    psutil.wait_procs([second])
    done = search.end()
    assert done.returncode == 0, done.stderr
    search.assert_like(stopping)
    assert decisions(search) == decisions(stopping)


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "trials"), [("nsga2", 8), ("tpe", 14)])
def test_ray_stops_the_same_trials_as_optuna(new_search, stopping, sampler, trials):
    pytest.importorskip("ray", reason="ray is an extra of quietspike-search")
    shape = {"sampler": sampler, "trials": trials}
    other = stopping if sampler == "nsga2" else new_stopping(new_search, **shape)
    if other is not stopping:
        assert other.run().returncode == 0
    search = new_stopping(new_search, engine="ray", **shape)
    done = search.run()
    assert done.returncode == 0, done.stderr
    search.assert_like(other)
    assert decisions(search) == decisions(other)
    assert [stop_tag(run) for run in search.runs("trial")] == [stop_tag(run) for run in other.runs("trial")]


@pytest.mark.slow
def test_what_decides_for_rays_workers_may_be_killed(new_search, stopping):
    pytest.importorskip("ray", reason="ray is an extra of quietspike-search")
    search = new_stopping(new_search, engine="ray")
    search.block(step=4)
    search.start()
    search.blocked()
    [judge] = [p for p in psutil.Process(search.driver.pid).children(recursive=True) if "Judge" in "".join(p.cmdline())]
    judge.kill()
    search.unblock()
    done = search.end()
    assert done.returncode == 0, done.stderr
    search.assert_like(stopping)


def test_a_full_disk_where_ray_decides_is_known_as_one(monkeypatch):
    pytest.importorskip("ray", reason="ray is an extra of quietspike-search")
    from ray.exceptions import RayTaskError

    from quietspike.search import with_ray

    def full(reference):
        raise RayTaskError("goes_on", "a traceback", OSError(errno.ENOSPC, "no room")).as_instanceof_cause()

    monkeypatch.setattr(with_ray.ray, "get", full)
    with pytest.raises(OSError, match="no room") as caught:
        with_ray._ask(mock.Mock(), None, 1, {})
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.slow
def test_several_workers_stop_trials_together(new_search):
    search = new_stopping(new_search, workers=2, trials=14)
    done = search.run()
    assert done.returncode == 0, done.stderr
    assert len(search.facts) == 14
    for epoch, visits in decisions(search).items():
        assert search.stopped.count(epoch) == list(visits.values()).count(False)
    search.assert_nothing_runs()
