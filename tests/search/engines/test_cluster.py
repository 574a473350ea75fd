"""The engine ``ray`` on a cluster of two nodes, set up as README.md says, with Ray's token."""

import contextlib
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from quietspike.search.cli import main
from quietspike.search.job import Job

from .conftest import PATIENCE, UNCONFIRMED, wait_until

pytest.importorskip("ray", reason="ray is an extra of quietspike-search")

from quietspike.search import ray_cluster
from quietspike.search.ray_cluster import Room

README = Path(__file__).resolve().parents[3] / "README.md"
SECTION = re.search(r"## On a cluster\n(.*?)\n## ", README.read_text(), re.DOTALL)[1]
COMMANDS = [line.split() for line in re.findall(r"^    (\w.*)", SECTION, re.MULTILINE)]
GENERATE, HEAD, WORKER, SEARCH = COMMANDS
"""The commands that the README shows, in their order."""

SMALL = ["--num-cpus", "1", "--object-store-memory", "80000000"]

AUDIT = """
import os, sys

def note(event, args):
    if event == "open" and str(args[0]).endswith("study.journal") and not noting:
        noting.append(1)
        with open(os.environ["QUIETSPIKE_TEST_OPENED"], "a") as file:
            print(os.getpid(), file=file)
        noting.clear()

noting = []
sys.addaudithook(note)
"""


OCCUPY = """
import ray, sys
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init(sys.argv[1], log_to_driver=False)
[head] = [node["NodeID"] for node in ray.nodes() if "node:__internal_head__" in node["Resources"] and node["Alive"]]

@ray.remote(num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(head, soft=False))
class Idler:
    def here(self):
        return True

idler = Idler.remote()
print(ray.get(idler.here.remote()), flush=True)
sys.stdin.readline()
"""
"""Takes the head's CPU, until a line comes."""


class Cluster:
    """Two nodes of one machine, each a group of processes; ``home`` has the token."""

    def __init__(self, folder, plugin):
        self.home = folder / "home"
        self.home.mkdir()
        self.gate = folder / "gate"
        self.opened = folder / "opened"
        (folder / "sitecustomize.py").write_text(AUDIT)
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": f"{plugin}:{folder}",
            "QUIETSPIKE_TEST_GATE": str(self.gate),
            "QUIETSPIKE_TEST_OPENED": str(self.opened),
            "RAY_TMPDIR": tempfile.mkdtemp(prefix="qs"),  # short, for sockets; and `auto` finds no other cluster
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }
        self.nodes = {}

    def words(self, command):
        """A command of the README with this machine's names."""
        here = {"HEAD:6379": self.address, "6379": self.port, "ray": f"{sys.executable} -m ray.scripts.scripts"}
        return ["env", *(part for word in command for part in here.get(word, word).split())]

    def run(self, command):
        return subprocess.run(
            self.words(command), env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=True
        )

    def start(self, name, command, before="", unshared=False):
        """A node; ``before``: what the shell does first; ``unshared``: with mounts of its own."""
        line = shlex.join([*self.words(command), *SMALL, "--block"])
        shell = [*(["unshare", "--mount"] if unshared else []), "/bin/sh", "-c", f"{before} exec {line}"]
        with (self.folder / f"{name}.log").open("a") as log:
            self.nodes[name] = psutil.Popen(
                shell,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )

        def started():
            text = (self.folder / f"{name}.log").read_text()
            assert self.nodes[name].poll() is None, text
            return "Ray runtime started" in text

        wait_until(started)

    def kill(self, name):
        """SIGKILL the raylet, its workers and all else that belongs to a node."""
        node = self.nodes.pop(name)
        processes = [node, *node.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=30)
        (self.folder / f"{name}.log").unlink()

    @contextlib.contextmanager
    def occupied_head(self):
        """No trial finds room on the head meanwhile."""
        command, pipe = [sys.executable, "-c", OCCUPY, self.address], subprocess.PIPE
        with subprocess.Popen(
            command, env={**self.environment, "RAY_AUTH_MODE": "token"}, stdin=pipe, stdout=pipe, text=True
        ) as idler:
            assert idler.stdout.readline() == "True\n"
            yield
            idler.communicate("\n")

    def name_of(self, worker):
        """The node of a process."""
        ancestors = {process.pid for process in worker.parents()}
        [name] = [name for name, node in self.nodes.items() if node.pid in ancestors]
        return name


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, plugin):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), plugin)
    try:
        cluster.run(GENERATE)
        cluster.start("head", HEAD)
        cluster.start("worker", WORKER)
        yield cluster
    finally:
        for name in list(cluster.nodes):
            cluster.kill(name)
        shutil.rmtree(cluster.environment["RAY_TMPDIR"], ignore_errors=True)


@pytest.fixture
def new(cluster, new_search):
    """``new_search`` on the cluster, started as the README says; one trial takes half of a node's only CPU."""
    shown = SEARCH[SEARCH.index("search") + 1 : SEARCH.index("--output")]

    def prepare(**changes):
        search = new_search(**changes)
        search.environment = {**search.environment, **cluster.environment}
        search.gate = cluster.gate
        start = search.start
        search.start = lambda *more: start(*shown, *more)
        return search

    yield prepare
    cluster.gate.unlink(missing_ok=True)
    cluster.gate.with_suffix(".reached").unlink(missing_ok=True)


@pytest.mark.slow
def test_the_commands_of_the_readme(cluster, new):
    assert (cluster.home / ".ray" / "auth_token").stat().st_size == 64
    search = new()
    done = search.run()
    assert done.returncode == 0, done.stderr
    assert "8 trials by nsga2, 4 at a time with ray" in done.stdout
    assert len({fact[0] for fact in search.facts}) == 8
    assert all(len(outcomes) == 2 for _, outcomes in search.confirmed)
    search.assert_nothing_runs()
    openers = set(cluster.opened.read_text().split())
    assert openers == {str(search.driver.pid)}, "only the driver opens the journal"


@pytest.mark.slow
def test_a_node_and_a_driver_that_are_killed(cluster, new, undisturbed):
    """A node is killed with its worker, the driver with the trial on the other node; the end is an undisturbed one."""
    search = new()
    search.block(step=4)
    with cluster.occupied_head():
        search.start("--search.workers", "1")
        first = search.blocked()
        before = search.facts
        assert (len(before), cluster.name_of(first)) == (2, "worker"), search.driver.args
        search.block(step=1)  # it goes on behind its first epoch
        cluster.kill("worker")
    second = search.blocked(after=first)
    assert cluster.name_of(second) == "head"
    assert search.facts == before, "nothing that had ended is lost"
    search.kill()
    psutil.wait_procs([second], timeout=60)
    assert not second.is_running()
    search.unblock()
    cluster.start("worker", WORKER)
    done = search.run("--search.workers", "1", *UNCONFIRMED)
    assert done.returncode == 0, done.stderr
    assert re.findall("Going on.*", done.stdout) == ["Going on: 2 of 8 trials are done, interrupted: 1"]
    search.assert_like(undisturbed, confirmed=False)
    assert [run.info.status for run in search.runs() if run.info.status != "FINISHED"] == ["KILLED", "KILLED"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "keys", "reason"),
    [
        ({"RAY_AUTH_TOKEN": secrets.token_hex(32)}, [], "Ray refuses the token, or was given none: set RAY_AUTH_M"),
        ({"HOME": "TMP"}, [], "Ray refuses the token, or was given none: set RAY_AUTH_"),
        ({"RAY_AUTH_MODE": "disabled"}, ["--search.address", "HEAD:6379"], "Ray refuses the token, or was given none"),
        ({}, ["--search.cpus", "2"], "a trial takes 2 CPUs and 0 GPUs, and no node has as many; the largest has 1 and"),
    ],
)
def test_what_a_cluster_refuses_is_one_line(cluster, new, tmp_path, change, keys, reason):
    search = new()
    search.environment.update({key: str(tmp_path) if value == "TMP" else value for key, value in change.items()})
    done = search.run(*[cluster.address if key == "HEAD:6379" else key for key in keys])
    assert done.returncode == 2
    assert done.stderr.startswith("quietspike: search.")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert search.facts == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a node that sees another folder takes a mount, and that takes root")
def test_a_node_that_does_not_see_the_folder_is_named(cluster, new):
    search = new()
    hidden = shlex.quote(str(search.file.parent))
    cluster.kill("worker")
    cluster.start("worker", WORKER, before=f"mount --make-rprivate / && mount -t tmpfs none {hidden} &&", unshared=True)
    done = search.run()
    assert done.returncode == 2
    assert done.stderr == (
        f"quietspike: node {socket.gethostname()}: {search.folder.resolve()}: not there; "
        "checkpoints and weights need a folder that all nodes share: output\n"
    )
    cluster.kill("worker")
    cluster.start("worker", WORKER)


# what needs no cluster


@pytest.mark.parametrize(
    ("nodes", "keys", "gpus", "trials"),
    [
        ([(4, 0)], {}, 0, 4),
        ([(4, 0), (2, 0)], {"cpus": 0.5}, 0, 12),
        ([(1, 0), (4, 2)], {"device": "cpu"}, 0, 5),
        ([(4, 0), (4, 2)], {}, 1, 2),
        ([(8, 2)], {"workers": 3}, 1 / 2, 3),  # a third would not fit into what is left of the two
        ([(8, 1)], {"workers": 3}, 1 / 3, 3),
        ([(8, 4)], {"workers": 2}, 1, 2),
        ([(8, 2)], {"gpus": 0.6}, 0.6, 2),  # one on each: a share of 0.6 is of one GPU
        ([(8, 5)], {"gpus": 2.0}, 2, 2),
        ([(3, 5)], {"gpus": 0.25}, 0.25, 3),
    ],
)
def test_the_room_for_trials(tiny_experiment, monkeypatch, nodes, keys, gpus, trials):
    alive = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": own}} for cpus, own in nodes]
    monkeypatch.setattr("ray.nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64}}])
    asked = {"workers": 0, **keys}
    experiment = tiny_experiment(device=asked.pop("device", "auto"), search={"engine": "ray", **asked})
    room = Room(Job(experiment, None, None), joined=True)
    assert (room.gpus, room.trials) == (gpus, trials)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["--search.address", "auto"], "search.address: auto: is for the engine ray, not optuna"),
        (["--search.cpus", "0.5"], "search.cpus: 0.5: is for the engine ray, not optuna"),
        (["--search.gpus", "1.5"], "search.gpus: a share of one, or a whole number of them, not 1.5"),
        (["--search.cpus", "0"], "search.cpus: input should be greater than 0, not 0"),
        (["--search.engine", "ray", "--search.address", "ray://h:1"], "search.address: ray://h:1: Ray's client cannot"),
        (["--search.engine", "ray", "--search.address", "host"], "search.address: host: must be auto or HOST:PORT"),
        (["--search.engine", "ray", "--search.address", "127.0.0.1:9"], "search.address: 127.0.0.1:9: no Ray answers "),
    ],
)
def test_an_address_that_cannot_be_is_one_line(tiny_experiment, tmp_path, capsys, keys, reason):
    tiny_experiment()
    assert main(["search", str(tmp_path / "tiny.yaml"), *keys]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"quietspike: {reason}")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("ConnectionError: Could not find any running Ray instance.", "no Ray runs on this machine; ray start --head "),
        ("[2026-11-28 00:18:19,865 W 5207 5207] rpc_client.h:638: Failed to connect", "it does not answer"),
        ("RuntimeError: Version mismatch: 2.60", "RuntimeError: Version mismatch: 2.60"),
    ],
)
def test_what_ray_says_of_an_address_is_told_in_one_line(tiny_experiment, tmp_path, monkeypatch, capsys, told, reason):
    """``told`` stands for the process that joins once: whether a Ray runs on this machine is not the test's to say."""
    monkeypatch.setattr(ray_cluster, "PROBE", f"raise SystemExit({told!r})")
    tiny_experiment()
    keys = ["--search.engine", "ray", "--search.address", "auto"]
    assert main(["search", str(tmp_path / "tiny.yaml"), *keys]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"quietspike: search.address: auto: {reason}")
    assert shown.count("\n") == 1
