import multiprocessing
import os
import signal
from multiprocessing.context import SpawnProcess

import pytest

from quietspike.core import QuietspikeError
from quietspike.search.processes import run_crew

WORK = """
import time

from quietspike.core import QuietspikeError


def write_number(folder, worker):
    (folder / str(worker)).touch()


def complain(worker):
    raise QuietspikeError("no work for me")


def wait_for_ever(worker):
    time.sleep(3600)
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A module that spawned processes can import too."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "quietspike_test_work.py").write_text(WORK, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import quietspike_test_work

        yield quietspike_test_work


def run(work, *args, workers):
    run_crew(work, args, workers=workers, threads=1, watch=lambda: None, lost=lambda: 0)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_crew_has_as_many_workers_as_asked_for(tmp_path, work, workers):
    run(work.write_number, tmp_path, workers=workers)
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(worker) for worker in range(workers)]


def test_what_a_worker_complains_of_is_raised(work):
    with pytest.raises(QuietspikeError, match="no work for me"):
        run(work.complain, workers=1)


def test_ctrl_c_while_the_crew_is_hired_leaves_no_worker(work, monkeypatch):
    start, hired = SpawnProcess.start, []

    def start_and_interrupt(process):
        start(process)
        hired.append(process)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(work.wait_for_ever, workers=2)
    assert [process.exitcode for process in hired] == [-signal.SIGKILL]
    assert multiprocessing.active_children() == []
