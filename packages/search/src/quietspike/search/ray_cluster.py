"""The cluster of the engine ``ray``: joined or started, and looked at before anything is trained on it."""

from __future__ import annotations

import gc
import logging
import math
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from quietspike.core import OptionError, QuietspikeError
from quietspike.core.weights import write_whole
from quietspike.search.data import prepare_data
from quietspike.search.job import Job
from quietspike.search.tracked_run import describe

PATIENCE = 60.0
"""Seconds for a cluster to answer."""

NODE_PATIENCE = 600.0
"""Seconds for a node to start a process and to have its data in its cache."""

PROBE = "import sys, ray; ray.init(sys.argv[1], logging_level=40, log_to_driver=False)"
"""Joins in a process of its own: Ray's library retries for a minute, and prints a line at each try."""

NO_TOKEN = (
    "Ray refuses the token, or was given none: set RAY_AUTH_MODE=token, and put the head's token into "
    "~/.ray/auth_token, or name it in RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
)


class Room:
    """What the trials of a search take of a cluster.

    Args:
        job: says what one of them takes.
        joined: whether the cluster was there before; else it is this machine's, and made to fit.
    """

    def __init__(self, job: Job, joined: bool) -> None:
        options = job.experiment.search
        self._nodes = [node for node in ray.nodes() if node["Alive"]]
        self.cpus = float(job.threads) if options.cpus is None else options.cpus
        self._asked = options.workers or (None if joined else job.workers)
        total = 0.0 if job.experiment.device == "cpu" else sum(_has(node, "GPU") for node in self._nodes)
        share = 1 / math.ceil((self._asked or 1) / total) if total else 0.0  # never parts of two GPUs
        self.gpus = share if options.gpus is None else options.gpus
        if not any(_has(node, "CPU") >= self.cpus and _has(node, "GPU") >= self.gpus for node in self._nodes):
            largest = max(self._nodes, key=lambda node: (_has(node, "GPU"), _has(node, "CPU")))
            key = "cpus" if all(_has(node, "CPU") < self.cpus for node in self._nodes) else "gpus"
            raise OptionError(
                f"search.{key}: a trial takes {self.cpus:g} CPUs and {self.gpus:g} GPUs, and no node has as many; "
                f"the largest has {_has(largest, 'CPU'):g} and {_has(largest, 'GPU'):g}"
            )

    @property
    def trials(self) -> int:
        """At once: as many as asked for, else as many as there is room for."""
        return self._asked or sum(self._holds(node) for node in self._nodes)

    def _holds(self, node: dict[str, Any]) -> int:
        holds = int(_has(node, "CPU") / self.cpus + 1e-9)
        if self.gpus > 0:
            whole, shares = max(1.0, self.gpus), max(1, int(1 / self.gpus + 1e-9))
            holds = min(holds, int(_has(node, "GPU") / whole) * shares)
        return holds


@contextmanager
def cluster(job: Job) -> Iterator[Room]:
    """The cluster that Ray is connected to, or that is named, or one on this machine for as long as this.

    Ray's token authentication is left as it is: on, in a cluster that is started here and wherever there is a token.

    Raises:
        QuietspikeError: in one line, if there is none, if it refuses the token, or if a node cannot do the work.
    """
    if ":" in job.experiment.device:
        raise OptionError(f"device={job.experiment.device!r}: Ray gives each worker its GPU; say cuda or auto")
    if ray.is_initialized():
        yield _look_at(job)
        return
    address = job.experiment.search.address or os.environ.get("RAY_ADDRESS", "local")
    before = signal.getsignal(signal.SIGTERM)
    if address == "local":
        takes = job.experiment.search.cpus or job.threads
        ray.init("local", num_cpus=math.ceil(job.workers * takes), include_dashboard=False, **_QUIET)
    else:
        _probe(address)
        ray.init(address, **_QUIET)
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own would abort the driver
    try:
        yield Room(job, joined=False) if address == "local" else _look_at(job)
    finally:
        leave_ray()


def leave_ray() -> None:
    """Shut Ray down while no garbage is collected.

    Ray ends the whole process where another thread drops one of its references in the meantime. The thread that sends
    to MLflow holds none, but drops what it finds when it happens to run the collector.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        _await_collector()
        ray.shutdown()
        gc.collect()  # what is left of this Ray, before another begins that knows nothing of it
    finally:
        if collecting:
            gc.enable()


def _await_collector() -> None:
    """Wait for a collection that runs in another thread: while it does, ``gc.collect`` does nothing."""
    mark = _Mark()
    gone = weakref.ref(mark)
    del mark
    while gone() is not None:
        gc.collect(
            0
        )  # the youngest alone, which takes no time: where all of Ray was told to end it may be gone already
        time.sleep(0.001)


class _Mark:
    """Lives until garbage is collected."""

    def __init__(self) -> None:
        self.itself = self


_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}


def missing_here(job: Job, folder: str) -> str | None:
    """Go to the driver's folder; says what this node lacks of what a worker needs."""
    try:
        os.chdir(folder)  # Tune's is the trial's own, where the experiment's relative paths lead nowhere
    except OSError as error:
        return f"{_here()}: {folder}: {error.strerror}; the search was started there, and all nodes must have it"
    if not job.folder.is_dir():
        where = job.folder.resolve()
        return f"{_here()}: {where}: not there; checkpoints and weights need a folder that all nodes share: output"
    return None


def _probe(address: str) -> None:
    """Join once, where it can be given up.

    Raises:
        OptionError: if that fails; says why.
    """
    where = f"search.address: {address}"
    if address.startswith("ray://"):
        raise OptionError(f"{where}: Ray's client cannot write the journal here; on a node say auto, else HOST:PORT")
    if address != "auto":
        found = re.fullmatch(r"\[?([^\[\]/]+)\]?:(\d+)", address)
        if found is None:
            raise OptionError(f"{where}: must be auto or HOST:PORT")
        try:
            socket.create_connection((found[1], int(found[2])), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise OptionError(f"{where}: no Ray answers there ({error})") from None
    command = [sys.executable, "-c", PROBE, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as probe:
        patience = threading.Timer(PATIENCE, probe.kill)
        patience.start()
        last = "it does not answer"
        try:
            for line in probe.stdout or ():
                if "InvalidAuthToken" in line or "AuthenticationError" in line:
                    raise OptionError(f"{where}: {NO_TOKEN}")
                if "Could not find any running Ray" in line:
                    raise OptionError(f"{where}: no Ray runs on this machine; ray start --head begins one")
                if not line.startswith("["):  # with which a line of Ray's log begins
                    last = line.strip() or last
        finally:
            patience.cancel()
            probe.kill()
    if probe.returncode:
        raise OptionError(f"{where}: {last}")


def _look_at(job: Job) -> Room:
    """The room in a cluster whose every node has the folder, the packages and the data.

    Raises:
        QuietspikeError: for the first that has not.
    """
    room = Room(job, joined=True)
    marker = job.folder / f".seen-{secrets.token_hex(4)}"
    write_whole(marker, b"")
    try:
        shared, look = ray.put(job), ray.remote(num_cpus=0, max_retries=0)(_look)
        pending = {}
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                reference = look.options(scheduling_strategy=there).remote(shared, os.getcwd(), marker.name)
                pending[reference] = node["NodeManagerHostname"]
        for reference, name in pending.items():
            try:
                complaint = ray.get(reference, timeout=NODE_PATIENCE)
            except RayTaskError as error:
                complaint = f"node {name}: {describe(error.cause)}"
            except RayError as error:
                complaint = f"node {name}: no worker can start there ({describe(error)})"
            if complaint is not None:
                raise QuietspikeError(complaint)
    finally:
        marker.unlink(missing_ok=True)
    return room


def _look(job: Job, folder: str, marker: str) -> str | None:
    """What keeps a node from working; prepares its data, before several workers ask for them."""
    complaint = missing_here(job, folder)
    if complaint is None and not (job.folder / marker).exists():
        where = job.folder.resolve()
        complaint = (
            f"{_here()}: {where}: is another folder there; checkpoints and weights need one that all nodes share"
        )
    if complaint is None:
        try:
            prepare_data(job.experiment, job.space)
        except (QuietspikeError, OSError) as error:
            return f"{_here()}: {error}"
    return complaint


def _here() -> str:
    return f"node {socket.gethostname()}"


def _has(node: dict[str, Any], kind: str) -> float:
    return float(node["Resources"].get(kind, 0.0))
