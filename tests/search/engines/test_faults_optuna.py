"""Kills, interruptions and failures of searches with the engine ``optuna``."""

import contextlib
import csv
import re

import psutil
import pytest

from quietspike.search.cli import main

from .conftest import STOPPED, UNCONFIRMED, wait_until

WITHIN_SECONDS = 20
"""For workers to notice that their driver is dead: a moment, but this machine may be busy."""


@pytest.fixture
def going_on(new_search):
    """A search that is blocked in the second epoch of its third trial."""
    search = new_search()
    search.block(step=4)
    search.start()
    search.worker = search.blocked()
    return search


def test_a_killed_worker_is_replaced_and_a_killed_driver_is_gone_on_with(going_on, undisturbed):
    search, before = going_on, going_on.facts
    assert len(before) == 2
    search.block(step=1)  # it goes on behind its first epoch
    search.worker.kill()
    worker = search.blocked(after=search.worker)
    search.kill()
    psutil.wait_procs([worker], timeout=WITHIN_SECONDS)
    assert not worker.is_running()
    search.unblock()
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall("Going on.*", done.stdout) == ["Going on: 2 of 8 trials are done, interrupted: 1"]
    assert search.facts[:2] == before
    search.assert_like(undisturbed)
    killed = [run for run in search.runs() if run.info.status != "FINISHED"]
    assert [run.info.status for run in killed] == ["KILLED", "KILLED"]
    assert {run.data.tags["quietspike.reason"] for run in killed} == {"its worker died"}
    pids = [run.data.tags["quietspike.worker.pid"] for run in killed]
    assert pids == [str(search.worker.pid), str(worker.pid)]
    thrice = [run.info.status for run in search.runs("trial") if run.data.params == killed[0].data.params]
    assert thrice == ["KILLED", "KILLED", "FINISHED"]


def test_ctrl_c_ends_in_one_line_and_a_second_driver_is_refused(going_on, capsys):
    search = going_on
    assert main(["search", str(search.file)]) == 2
    assert capsys.readouterr() == ("", f"quietspike: {search.folder}: another search runs there\n")
    assert main(["report", str(search.file)]) == 0, "a report reads, and disturbs nobody"
    assert capsys.readouterr().err == ""
    search.interrupt()
    done = search.end()
    assert done.returncode == 130
    assert done.stderr == STOPPED
    assert not search.worker.is_running()
    search.assert_nothing_runs()
    [parent] = search.runs("search")
    assert parent.info.status == "KILLED"
    assert len(search.facts) == 2


@pytest.mark.slow
def test_an_interrupted_search_goes_on(going_on, undisturbed):
    search = going_on
    search.block(step=1)  # it goes on behind its first epoch
    for _ in range(2):
        search.interrupt()
        assert search.end().returncode == 130
        search.start(*UNCONFIRMED)
        search.worker = search.blocked(after=search.worker)
    search.unblock()
    assert search.end().returncode == 0
    search.assert_like(undisturbed, confirmed=False)


def test_trials_that_raise_or_turn_nan_are_recorded_and_the_search_goes_on(new_search):
    search = new_search(search={"candidates": ["none", "raising", "nan"], "trials": 6}, confirm={"uniform": ["none"]})
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    reasons = {t.placement.label: t.outcome.reason for t in search.study.results()}
    assert len(reasons) == 6
    assert reasons["none"] is None
    raised = "RuntimeError: no attention today"
    diverged = "DivergedError: the loss is nan in epoch 1, step 1"
    everywhere = "block1 {0} · block2 {0} · block3 {0}"
    assert reasons[everywhere.format("raising")] == raised
    assert reasons[everywhere.format("nan")].startswith("DivergedError: the ")
    assert set(reasons.values()) <= {None, raised, diverged, reasons[everywhere.format("nan")]}
    assert "failed: RuntimeError: no attention today" in done.stdout
    assert "5 trials failed" in done.stdout or "trials failed, the first with RuntimeError" in done.stdout
    with (search.folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["reason"] for row in rows} == {reason or "" for reason in reasons.values()}
    assert all(bool(row["accuracy"]) != bool(row["reason"]) for row in rows)
    failed = [run for run in search.runs("trial") if run.info.status == "FAILED"]
    assert len(failed) == len([reason for reason in reasons.values() if reason])
    assert {run.data.tags["quietspike.reason"] for run in failed} == set(reasons.values()) - {None}
    search.assert_nothing_runs()
    [text] = {path.read_text(encoding="utf-8") for path in search.folder.glob("trials/*/error.txt") if raises(path)}
    assert 'raise RuntimeError("no attention today\\nsecond line")' in text


def raises(path):
    return "RuntimeError" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_search_of_failures_says_so_in_one_line(new_search):
    search = new_search(search={"candidates": ["raising"], "trials": 4}, confirm={"uniform": None})
    for _ in range(2):
        failed = search.run()
        assert failed.returncode == 2
        [traceback] = search.folder.glob("trials/*/error.txt")
        reason = "RuntimeError: no attention today"
        assert failed.stderr == (
            f"quietspike: every trial failed, the first with {reason}; see {traceback}; "
            f"to try again, remove {search.folder}\n"
        )
        search.assert_nothing_runs()
        [parent] = search.runs("search")
        assert parent.info.status == "FAILED"


@pytest.mark.slow
def test_a_placement_that_kills_its_workers_is_recorded_as_failed(new_search):
    search = new_search(search={"trials": 4}, confirm={"seeds": 0})
    search.block()
    search.start()
    kill_thrice(search)
    wait_until(lambda: len(search.facts) == 3)
    search.unblock()
    assert search.end().returncode == 0
    reasons = [trial.outcome.reason for trial in search.study.results()]
    assert reasons.count("its worker died 3 times") == 1
    assert len(reasons) == 4
    search.assert_nothing_runs()


def kill_thrice(search):
    worker = None
    for _ in range(3):
        worker = search.blocked(after=worker)
        worker.kill()


@pytest.mark.slow
def test_a_driver_that_is_killed_during_the_confirmation(new_search, undisturbed):
    search = new_search()
    worker = search.block_confirmation()
    wait_until(lambda: "FINISHED" in [run.info.status for run in search.runs("confirmation")])
    search.kill()
    psutil.wait_procs([worker], timeout=WITHIN_SECONDS)
    assert not worker.is_running()
    search.unblock()
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    search.assert_like(undisturbed)
    confirmations = search.runs("confirmation")
    assert [run.info.status for run in confirmations].count("KILLED") == 1
    assert len(confirmations) == len(undisturbed.runs("confirmation")) + 1, "none was trained twice to its end"


@pytest.mark.slow
def test_a_worker_that_is_killed_during_the_confirmation(new_search, undisturbed):
    search = new_search()
    worker = search.block_confirmation()
    worker.kill()
    search.unblock()
    assert search.end().returncode == 0
    search.assert_like(undisturbed)


@pytest.mark.slow
def test_a_confirmation_that_kills_its_workers_is_reported(new_search):
    search = new_search(search={"trials": 3})
    assert search.run(*UNCONFIRMED).returncode == 0
    search.block()
    search.start("--confirm.seeds", "1")
    kill_thrice(search)
    done = search.end()
    assert done.returncode == 0
    assert "confirmations failed, the first with its worker died 3 times" in done.stdout
    search.assert_nothing_runs()


def is_worker(process):
    with contextlib.suppress(psutil.NoSuchProcess):  # as of a child that has just ended
        return "spawn_main" in " ".join(process.cmdline())


@pytest.mark.slow
def test_ctrl_c_while_workers_start(new_search):
    search = new_search()
    search.start()
    driver = psutil.Process(search.driver.pid)
    wait_until(lambda: any(is_worker(child) for child in driver.children()))
    search.interrupt()
    done = search.end()
    assert done.returncode == 130
    assert done.stderr == STOPPED
    search.assert_nothing_runs()


@pytest.mark.slow
def test_several_workers_and_one_that_is_killed(new_search):
    search = new_search(search={"workers": 2, "trials": 10})
    search.block(step=4)
    search.start()
    worker = search.blocked()
    wait_until(lambda: len(search.facts) >= 4)  # the other goes on
    worker.kill()
    search.unblock()
    done = search.end()
    assert (done.returncode, done.stderr) == (0, "")
    placements = [fact[0] for fact in search.facts]
    assert len(placements) == len(set(placements)) == 10
    search.assert_nothing_runs()
    assert len(search.confirmed) >= 3
    assert all(len(outcomes) == 2 for _, outcomes in search.confirmed)


@pytest.mark.slow
def test_a_tracking_store_that_breaks_ends_nothing_and_gets_everything_later(going_on, undisturbed):
    search = going_on
    whole = search.store.read_bytes()
    search.store.write_bytes(b"no database any more" * 1000)
    search.unblock()
    done = search.end()
    assert (done.returncode, done.stderr) == (0, "")
    said = [line for line in done.stdout.splitlines() if line.startswith("tracking.uri")]
    assert len(said) == 2
    assert "sqlite3.DatabaseError" in said[0]
    assert said[1].endswith("and quietspike report sends them")
    assert search.facts == undisturbed.facts
    for leftover in search.store.parent.glob("mlflow.db-*"):
        leftover.unlink()
    search.store.write_bytes(whole)
    assert search.command("report").returncode == 0
    search.assert_like(undisturbed)


@pytest.mark.slow
def test_damaged_files_are_made_anew(new_search, undisturbed, tmp_path):
    """A cache entry, a checkpoint and the journal's last line."""
    search = new_search()
    search.environment["QUIETSPIKE_CACHE"] = str(tmp_path / "cache")
    search.block(step=4)
    search.start()
    search.blocked()
    search.kill()
    search.unblock()
    [checkpoint] = search.folder.glob("trials/*/checkpoint.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with (search.folder / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code":')
    for rows in (tmp_path / "cache").glob("digits_dvs-*/00000.rows"):
        with rows.open("r+b") as file:
            file.truncate(1000)
    done = search.run()
    assert done.returncode == 0
    assert "is damaged" in done.stderr
    assert "building it again" in done.stderr
    search.assert_like(undisturbed)
