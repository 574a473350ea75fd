"""SIGTERM, as ``kill``, a batch system or a shutdown sends it, stops as cleanly as Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import STOPPED, UNCONFIRMED

ENGINES = ["optuna", pytest.param("ray", marks=pytest.mark.slow)]


def to_the_driver(search):
    search.driver.terminate()


def to_the_group(search):
    os.killpg(search.driver.pid, signal.SIGTERM)


@pytest.mark.parametrize("send", [to_the_driver, pytest.param(to_the_group, marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_search_stops_and_goes_on(new_search, undisturbed, engine, send):
    if engine == "ray":
        pytest.importorskip("ray", reason="ray is an extra of quietspike-search")
    search = new_search(search={"engine": engine})
    search.block(step=4)
    search.start()
    worker = search.blocked()
    processes = psutil.Process(search.driver.pid).children(recursive=True)
    send(search)
    done = search.end()
    assert (done.returncode, done.stderr) == (143, STOPPED)
    assert worker in processes
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running()
    search.assert_nothing_runs()
    [parent] = search.runs("search")
    assert parent.info.status == "KILLED"
    assert len(search.facts) == 2
    search.unblock()
    assert search.run(*UNCONFIRMED).returncode == 0
    search.assert_like(undisturbed, confirmed=False)


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_is_replaced(new_search, undisturbed):
    search = new_search()
    search.block(step=4)
    search.start(*UNCONFIRMED)
    worker = search.blocked()
    worker.terminate()
    search.blocked(after=worker)
    search.unblock()
    done = search.end()
    assert (done.returncode, done.stderr) == (0, "")
    search.assert_like(undisturbed, confirmed=False)


def test_a_training_stops(new_search):
    search = new_search()
    search.block()
    command = [Path(sys.executable).with_name("quietspike"), "train", search.file, "--placement", "gate"]
    pipe = subprocess.PIPE
    search.driver = subprocess.Popen(command, env=search.environment, stdout=pipe, stderr=pipe, text=True)
    search.blocked()
    search.driver.terminate()
    done = search.end()
    assert (done.returncode, done.stdout, done.stderr) == (143, "", STOPPED)
    [run] = search.runs()
    assert (run.data.tags["quietspike.kind"], run.info.status) == ("training", "KILLED")
