"""Searches as a user starts them, in processes of their own, with attention that blocks, raises or gives NaN."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from optuna.trial import TrialState

FAULTS = '''
"""Attention with faults, as a third party's distribution would bring it."""

import fcntl
import os
import resource
import time
from pathlib import Path

import torch
from torch import nn


class Gate(nn.Module):
    """A factor; blocks at the training step that the file $QUIETSPIKE_TEST_GATE names, for as long as it exists.

    One process at a time: another one goes on.
    """

    def __init__(self, site):
        super().__init__()
        self.steps = 0
        self.file = Path(os.environ["QUIETSPIKE_TEST_GATE"])

    def forward(self, x):
        self.steps += self.training
        if self.training and self.file.exists() and self.steps >= int(self.file.read_text() or "1"):
            self.block()
        return 1.25 * x

    def block(self):
        with self.file.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed when its holder dies
            except BlockingIOError:
                return
            self.file.with_suffix(".reached").write_text(str(os.getpid()))
            while self.file.exists():
                time.sleep(0.02)


class Raising(nn.Module):
    def __init__(self, site):
        super().__init__()

    def forward(self, x):
        raise RuntimeError("no attention today\\nsecond line")


class Nan(nn.Module):
    def __init__(self, site):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * (self.factor * float("nan"))


class Hungry(nn.Module):
    """Takes memory until its process may have no more: 256 MiB above what it has."""

    def __init__(self, site):
        super().__init__()

    def forward(self, x):
        if not x.is_meta:
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (has + 2**28, hard))
            try:
                taken = [bytearray(2**24) for _ in range(2**10)]
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        return x


def die(worker):
    os._exit(3)
'''

ENTRY_POINTS = """
[quietspike.attention]
gate = quietspike_faults:Gate
raising = quietspike_faults:Raising
nan = quietspike_faults:Nan
hungry = quietspike_faults:Hungry
"""

EXPERIMENT = {
    "name": "engines",
    "device": "cpu",
    "dataset": {"name": "digits_dvs", "steps": 4, "size": 12, "train": 60, "validation": 20, "test": 20},
    "backbone": {"name": "conv3", "widths": [4, 4, 4], "pools": [2, 2, 1], "hidden": [8]},
    "train": {"epochs": 2, "batch_size": 20, "learning_rate": 0.01},
    "search": {
        "sampler": "nsga2",
        "trials": 8,
        "workers": 1,
        "population": 4,
        "candidates": ["none", "ta", "gate"],
    },
    "confirm": {"seeds": 2, "front": 2, "uniform": ["none", "gate"]},
}

STOPPED = "Stopped; all that had ended is kept, and the same command goes on from there\n"
"""What the command says after Ctrl-C."""

UNCONFIRMED = ("--confirm.seeds", "0")
"""Ends a search behind its trials, which takes half of the time."""

ASIDE = ("network_util.cc", "building the cache (")
"""What Ray's own library writes on a machine without a network, and nothing here can stop; what a slow machine says."""

PATIENCE = 420.0
"""Seconds for what takes some five when nothing else runs on the machine."""


class Search:
    """A search in a folder of its own, started with the command line; started again it goes on."""

    def __init__(self, folder, store_template, plugin, changes):
        from quietspike.search.config import check_experiment

        folder.mkdir()
        self.gate = folder / "gate"
        self.environment = {**os.environ, "PYTHONPATH": str(plugin), "QUIETSPIKE_TEST_GATE": str(self.gate)}
        self.environment["OMP_NUM_THREADS"] = "1"
        data = {**EXPERIMENT, "output": str(folder / "runs")}
        for key, value in changes.items():
            data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
        self.file = folder / "experiment.yaml"
        self.file.write_text(yaml.safe_dump(data), encoding="utf-8")
        self.experiment = check_experiment(data)
        self.folder = self.experiment.folder
        self.store = self.experiment.output / "mlflow.db"
        self.store.parent.mkdir()
        self.store.write_bytes(store_template.read_bytes())
        self.driver = None

    def start(self, *overrides):
        """Start the command and come back at once; its group is its own, as a shell would make it."""
        command = [Path(sys.executable).with_name("quietspike"), "search", self.file, *overrides]
        pipe = subprocess.PIPE
        self.driver = subprocess.Popen(
            command, env=self.environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        return self.driver

    def run(self, *overrides):
        """The finished process, with its output."""
        self.start(*overrides)
        return self.end()

    def end(self):
        """Wait for the end of the process that was started."""
        out, err = self.driver.communicate(timeout=PATIENCE)
        err = "".join(line for line in err.splitlines(keepends=True) if not any(part in line for part in ASIDE))
        return subprocess.CompletedProcess(self.driver.args, self.driver.returncode, out, err)

    def move_to(self, folder):
        """Have all that it writes in another folder; before it is started."""
        self.experiment = self.experiment.model_copy(update={"output": folder / "runs"})
        self.folder = self.experiment.folder
        self.file.write_text(yaml.safe_dump(self.experiment.data), encoding="utf-8")

    def command(self, name, *overrides):
        """Another command on the same experiment, finished."""
        command = [Path(sys.executable).with_name("quietspike"), name, self.file, *overrides]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)

    def block(self, step=1):
        """From now on training blocks at a step, where there is the attention ``gate``."""
        self.gate.write_text(str(step))

    def blocked(self, after=None):
        """Wait until a worker is blocked, another one than ``after``; gives its process."""
        reached = self.gate.with_suffix(".reached")

        def pid():
            assert self.driver.poll() is None, self.driver.communicate()
            there = reached.read_text() if reached.exists() else ""
            return int(there) if there and (after is None or int(there) != after.pid) else None

        return psutil.Process(wait_until(pid))

    def unblock(self):
        self.gate.unlink()
        self.gate.with_suffix(".reached").unlink(missing_ok=True)

    def block_confirmation(self):
        """Start, and wait until a worker is blocked behind the first epoch of one of the confirmation's trainings."""
        self.start()
        wait_until((self.folder / "confirm").exists)
        self.block(step=4)
        return self.blocked()

    def kill(self):
        """SIGKILL the driver, and nothing but it."""
        self.driver.kill()
        self.driver.communicate()

    def interrupt(self):
        """Ctrl-C: the terminal sends SIGINT to the whole group."""
        os.killpg(self.driver.pid, signal.SIGINT)

    @property
    def study(self):
        from quietspike.search.space import open_space
        from quietspike.search.study import SearchStudy

        return SearchStudy(self.experiment, open_space(self.experiment), self.folder)

    @property
    def trials(self):
        return self.study.study.get_trials(deepcopy=False)

    @property
    def facts(self):
        """What must not depend on how often it was interrupted: placements, in order, and their values."""
        return [(t.placement, t.outcome.accuracy, dict(t.outcome.totals)) for t in self.study.results()]

    @property
    def stopped(self):
        """For each trial the epoch that it was stopped after, or ``None``."""
        return [t.outcome.stopped for t in self.study.results()]

    @property
    def confirmed(self):
        from quietspike.search.searching import read_search

        confirmations = read_search(self.experiment).confirmations
        return [
            (c.placement, {seed: (o.accuracy, dict(o.totals)) for seed, o in sorted(c.outcomes.items())})
            for c in confirmations
        ]

    @property
    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(f"sqlite:///{self.store}")

    def runs(self, kind=None):
        """MLflow's runs of the search, by their beginning."""
        client = self.client
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        query = f"tags.`quietspike.kind` = '{kind}'" if kind else ""
        return list(client.search_runs(ids, query, order_by=["attributes.start_time ASC"]))

    def assert_nothing_runs(self):
        """Neither in the journal, nor in MLflow, nor as a process of the driver's group."""
        assert all(trial.state != TrialState.RUNNING for trial in self.trials)
        assert [run.info.run_name for run in self.runs() if run.info.status == "RUNNING"] == []

    def assert_like(self, undisturbed, confirmed=True):
        """The same end as a search that nothing happened to, without a point that was trained twice to its end.

        ``confirmed``: whether it was run with its confirmation, where that takes part in what is tested.
        """
        assert self.facts == undisturbed.facts
        assert self.stopped == undisturbed.stopped
        assert self.confirmed == (undisturbed.confirmed if confirmed else [])
        self.assert_nothing_runs()
        [parent] = self.runs("search")
        assert parent.info.status == "FINISHED"
        finished = [run for run in self.runs("trial") if run.info.status == "FINISHED"]
        assert len(finished) == self.stopped.count(None)


def wait_until(condition, seconds=PATIENCE):
    """Poll a condition; gives its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """A distribution's folder with the faulty attention, as pip would leave it in site-packages."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "quietspike_faults.py").write_text(FAULTS, encoding="utf-8")
    info = folder / "quietspike_faults-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quietspike-faults\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("QUIETSPIKE_TEST_GATE", str(folder / "none"))
        yield folder


@pytest.fixture(scope="session")
def new_search(tmp_path_factory, store_template, plugin):
    """A function that prepares a search; takes keys of the experiment."""
    searches = []

    def prepare(**changes):
        folder = tmp_path_factory.mktemp("search") / "work"
        searches.append(Search(folder, store_template, plugin, changes))
        return searches[-1]

    yield prepare
    for search in searches:
        if search.driver is not None and search.driver.poll() is None:
            os.killpg(search.driver.pid, signal.SIGKILL)
            search.driver.communicate()


@pytest.fixture(scope="session")
def undisturbed(new_search):
    """A search that nothing happens to."""
    search = new_search()
    done = search.run()
    assert (done.returncode, done.stderr) == (0, "")
    return search
