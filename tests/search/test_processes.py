import time

import pytest

from quietspike.core import QuietspikeError
from quietspike.search.processes import run_crew


def write_number(folder, worker):
    (folder / str(worker)).touch()


def complain(worker):
    raise QuietspikeError("no work for me")


def run(work, *args, workers):
    run_crew(work, args, workers=workers, threads=1, watch=lambda: None, lost=lambda: 0)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_crew_has_as_many_workers_as_asked_for(tmp_path, workers):
    run(write_number, tmp_path, workers=workers)
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(worker) for worker in range(workers)]


def test_what_a_worker_complains_of_is_raised():
    with pytest.raises(QuietspikeError, match="no work for me"):
        run(complain, workers=1)


def wait_for_ever(worker):
    time.sleep(3600)


def test_ctrl_c_while_the_crew_is_hired_leaves_no_worker(monkeypatch):
    import multiprocessing
    import os
    import signal

    from quietspike.search import processes

    start = processes._start
    hired = []

    def start_and_interrupt(*args):
        hired.append(start(*args).process)
        os.kill(os.getpid(), signal.SIGINT)  # held back until the worker is known
        return processes.Member(hired[-1], None)

    monkeypatch.setattr(processes, "_start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(wait_for_ever, workers=2)
    assert len(hired) == 1
    assert hired[0].exitcode == -signal.SIGKILL
    assert multiprocessing.active_children() == []
