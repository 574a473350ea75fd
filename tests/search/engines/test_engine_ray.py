"""The engine ``ray``: the same search as with ``optuna``, and what it makes of kills and failures."""

import errno
import json
import re
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import psutil
import pytest
from optuna.storages.journal import JournalFileBackend

from quietspike.search.cli import main
from quietspike.search.job import Job
from quietspike.search.results import Outcome
from quietspike.search.space import open_space
from quietspike.search.untracked import Untracked

from .conftest import PATIENCE, STOPPED, UNCONFIRMED

pytest.importorskip("ray", reason="ray is an extra of quietspike-search")
from ray.exceptions import RayTaskError

from quietspike.search import with_ray

RAY = {"engine": "ray"}

LEAVE_WHILE_A_THREAD_COLLECTS = """
import threading, time
import ray
from quietspike.search.ray_cluster import leave_ray

ray.init("local", num_cpus=1, include_dashboard=False, logging_level=40, log_to_driver=False)
references = [ray.put(number) for number in range(20_000)]
left = threading.Event()

def make_garbage():
    while references and not left.is_set():
        cycle = [references.pop()]
        cycle.append(cycle)
        nothing = [[] for _ in range(1_000)]  # so that the collector runs
        time.sleep(1e-3)

thread = threading.Thread(target=make_garbage)
thread.start()
leave_ray()
assert references, "the thread ended before it could disturb"
left.set()
thread.join()
print("left")
"""


def ray_processes(search):
    """What the driver has started, Ray's own and workers, but for Ray's agents: those outlive a killed head by 60 s."""
    processes = psutil.Process(search.driver.pid).children(recursive=True)
    return [process for process in processes if not process.name().endswith("Agent")]


def assert_all_end(processes):
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert [process.cmdline() for process in alive] == []


@pytest.fixture
def going_on(new_search):
    """A search that is blocked in the second epoch of its third trial."""
    search = new_search(search=RAY)
    search.block(step=4)
    search.start()
    search.worker = search.blocked()
    return search


def test_gives_the_same_as_optuna(new_search, undisturbed):
    search = new_search(search=RAY)
    assert search.folder.name == undisturbed.folder.name, "the engine is not part of what shapes a search"
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    search.assert_like(undisturbed)
    assert [run.data.params for run in search.runs("trial")] == [run.data.params for run in undisturbed.runs("trial")]
    names = {path.name for path in undisturbed.folder.iterdir()}
    assert {path.name for path in search.folder.iterdir()} == names, "Ray leaves nothing of its own"


@pytest.mark.slow
def test_a_search_begun_with_one_engine_goes_on_with_the_other(going_on, undisturbed):
    search = going_on
    search.kill()
    assert_all_end([search.worker])
    search.unblock()
    done = search.run("--search.engine", "optuna", *UNCONFIRMED)
    assert (done.returncode, done.stderr) == (0, "")
    search.assert_like(undisturbed, confirmed=False)


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_driver(going_on, undisturbed):
    search, before = going_on, going_on.facts
    assert len(before) == 2
    search.block(step=1)  # it goes on behind its first epoch
    search.worker.kill()
    worker = search.blocked(after=search.worker)
    processes = ray_processes(search)
    assert worker in processes
    search.kill()
    assert_all_end(processes)
    search.unblock()
    done = search.run(*UNCONFIRMED)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall("Going on.*", done.stdout) == ["Going on: 2 of 8 trials are done, interrupted: 1"]
    assert search.facts[:2] == before
    search.assert_like(undisturbed, confirmed=False)
    assert [run.info.status for run in search.runs() if run.info.status != "FINISHED"] == ["KILLED", "KILLED"]


@pytest.mark.slow
def test_kills_during_the_confirmation(new_search, undisturbed):
    search = new_search(search=RAY)
    first = search.block_confirmation()
    search.block(step=1)  # it goes on behind its first epoch
    first.kill()
    search.blocked(after=first)
    processes = ray_processes(search)
    search.kill()
    assert_all_end(processes)
    search.unblock()
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    search.assert_like(undisturbed)


@pytest.mark.slow
def test_a_placement_that_kills_its_workers_is_recorded_as_failed(new_search):
    search = new_search(search={**RAY, "trials": 3}, confirm={"seeds": 1, "uniform": ["none", "gate"]})
    search.block()
    search.start()
    worker = None
    for _ in range(6):  # three times in the search, three times in the confirmation
        worker = search.blocked(after=worker)
        worker.kill()
    done = search.end()
    assert (done.returncode, done.stderr) == (0, "")
    assert [trial.outcome.reason for trial in search.study.results()] == [None, None, "its worker died 3 times"]
    assert "1 confirmations failed, the first with its worker died 3 times" in done.stdout
    search.assert_nothing_runs()


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line_and_a_second_driver_is_refused(going_on, undisturbed, capsys):
    search = going_on
    assert main(["search", str(search.file)]) == 2
    assert capsys.readouterr() == ("", f"quietspike: {search.folder}: another search runs there\n")
    assert main(["report", str(search.file)]) == 0, "a report reads, and disturbs nobody"
    processes = ray_processes(search)
    search.interrupt()
    done = search.end()
    assert done.returncode == 130
    assert done.stderr == STOPPED
    assert_all_end(processes)
    search.assert_nothing_runs()
    search.unblock()
    assert search.run(*UNCONFIRMED).returncode == 0
    search.assert_like(undisturbed, confirmed=False)


@pytest.mark.slow
def test_trials_that_raise_or_turn_nan_are_recorded_and_the_search_goes_on(new_search):
    shape = {"candidates": ["none", "raising", "nan"], "trials": 6}
    search = new_search(search={**RAY, **shape}, confirm={"seeds": 0, "uniform": None})
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    reasons = {trial.placement.label: str(trial.outcome.reason) for trial in search.study.results()}
    assert len(reasons) == 6
    assert reasons["none"] == "None"
    everywhere = "block1 {0} · block2 {0} · block3 {0}"
    assert reasons[everywhere.format("raising")] == "RuntimeError: no attention today"
    assert reasons[everywhere.format("nan")].startswith("DivergedError: the ")
    statuses = ["FINISHED" if reason == "None" else "FAILED" for reason in reasons.values()]
    assert [run.info.status for run in search.runs("trial")] == statuses
    search.assert_nothing_runs()


def test_a_full_disk_where_trials_are_judged_is_told_as_such(monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", "study.journal")

    def get(reference):
        raise RayTaskError("goes_on", "", full).as_instanceof_cause()

    monkeypatch.setattr("ray.get", get)
    judge = SimpleNamespace(goes_on=SimpleNamespace(remote=lambda *question: None))
    with pytest.raises(OSError, match="No space left on device") as raised:
        with_ray._ask(judge, "claim", 1, {})
    assert raised.value.errno == errno.ENOSPC


def test_a_full_disk_where_ray_drives_ends_the_search_as_such(tiny_experiment, monkeypatch):
    experiment = tiny_experiment()
    experiment.folder.mkdir(parents=True)
    placements = with_ray.PlacementSearch(Job(experiment, open_space(experiment), Untracked()))
    first, second = placements.suggest("first"), placements.suggest("second")

    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device", "study.journal")

    outcome = {"outcome": json.dumps(Outcome(0.5, {"spikes": 1.0}).data)}
    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        placements.on_trial_complete("first", outcome)
    assert placements.complaint == "study.journal: No space left on device; what had ended is kept"
    placements.on_trial_complete("second", outcome)
    assert placements.suggest("third") == "FINISHED"
    study = placements._journal
    assert [trial.number for trial in study.results()] == [second["number"]]
    assert study.lose_all() == 1
    assert study.claim().design.json == first["design"]


INITIALISED = """
import os, sys
import ray
from pathlib import Path
from quietspike.search import load_experiment, run_search

if __name__ == "__main__":
    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    result = run_search(load_experiment(Path(sys.argv[1]), ["--output", "here"]))
    assert ray.is_initialized(), "it was not the search's to end"
    print(len(result.trials), sorted(os.listdir("here")))
"""


def test_garbage_of_ray_in_another_thread_does_not_end_the_driver():
    done = subprocess.run(
        [sys.executable, "-c", LEAVE_WHILE_A_THREAD_COLLECTS], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr


@pytest.mark.slow
def test_a_relative_folder_in_a_ray_that_runs_already(new_search):
    search = new_search(
        search={**RAY, "trials": 3, "candidates": ["none", "ta"]}, confirm={"seeds": 1, "uniform": ["ta"]}
    )
    folder = search.file.parent
    (folder / "here").mkdir()
    search.store = search.store.rename(folder / "here" / "mlflow.db")
    done = subprocess.run(
        [sys.executable, "-c", INITIALISED, search.file],
        cwd=folder,
        env=search.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"3 {sorted(['artifacts', search.folder.name, 'mlflow.db', 'mlflow.db.lock'])}\n"
    assert (folder / "here" / search.folder.name / "pareto.svg").exists()
    for kind in ("trial", "confirmation"):
        times = [(run.info.start_time, run.info.end_time) for run in search.runs(kind)]
        assert len(times) > 1
        assert all(end <= begin for (_, end), (begin, _) in pairwise(times)), (
            "there is room for three, one was asked for"
        )


@pytest.mark.slow
def test_several_workers(new_search):
    search = new_search(search={**RAY, "workers": 2, "trials": 10})
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    placements = [fact[0] for fact in search.facts]
    assert len(placements) == len(set(placements)) == 10
    assert all(len(outcomes) == 2 for _, outcomes in search.confirmed)
    search.assert_nothing_runs()


def test_without_ray_it_says_what_to_install(new_search):
    search = new_search(search=RAY)
    hidden = search.file.parent / "hidden"
    hidden.mkdir()
    (hidden / "ray.py").write_text("raise ImportError(\"No module named 'ray'\")\n", encoding="utf-8")
    search.environment["PYTHONPATH"] += f":{hidden}"
    done = search.run()
    assert done.returncode == 2
    assert done.stderr.endswith(
        " cannot be imported: it needs Ray Tune: pip install \"quietspike-search[ray]\" (No module named 'ray')\n"
    )
    assert done.stderr.count("\n") == 1
    assert not search.folder.exists()
