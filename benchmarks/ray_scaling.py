"""How many trials a minute the engine ``ray`` gets through, and what its driver adds to each.

    python benchmarks/ray_scaling.py --real 1 2 --asleep 16 32 64

With real trainings (tiny ones) the workers are the limit. Where a trial only sleeps for a second, and its worker does
not import torch, it is the driver: its time a trial is measured by parts, from the moment at which all workers have
begun; until then the first trial of each waits.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from ray import tune

from quietspike.search.config import Experiment, check_experiment
from quietspike.search.job import Job
from quietspike.search.ray_cluster import cluster
from quietspike.search.sending import Sender, sending
from quietspike.search.space import open_space
from quietspike.search.study import SearchStudy
from quietspike.search.tracking import open_tracker
from quietspike.search.with_ray import PlacementSearch, _run_trial, run_tune

EXPERIMENT = {
    "name": "scaling",
    "device": "cpu",
    "dataset": {"name": "digits_dvs", "steps": 4, "size": 12, "train": 200, "validation": 50, "test": 20},
    "backbone": {"name": "conv3", "widths": [8, 16, 16], "pools": [2, 2, 1], "hidden": [16]},
    "train": {"epochs": 3, "batch_size": 20},
    "search": {"engine": "ray", "sampler": "random", "uniform_first": False},
}
PARTS = {
    "claims": (SearchStudy, "claim"),
    "outcomes into the journal": (SearchStudy, "finish"),
    "weights tidied": (Job, "tidy"),
    "MLflow, in its thread": (Sender, "send"),
}
TOTALS = ("spikes", "energy", "synaptic_operations", "parameters")


class Clock:
    """What the driver spends where, from the moment at which every worker has begun.

    Args:
        workers: how many there are.
        gate: a folder in which each worker leaves a file named for its process, and waits for one named ``go``.
    """

    def __init__(self, workers: int, gate: Path) -> None:
        self.workers = workers
        self.gate = gate
        self.spent: Counter[str] = Counter()
        self.processes: set[int] = set()
        self.ended = 0
        self.since: tuple[float, float, int] | None = None
        self.until = (0.0, 0.0, 0)
        gate.mkdir()

    def look(self) -> None:
        """Let the workers go on, once all are there."""
        if self.since is None and len(list(self.gate.iterdir())) >= self.workers:
            self.spent.clear()
            self.since = self._now()
            (self.gate / "go").touch()

    def note_end(self, process: int) -> None:
        """A trial has ended, in this process."""
        self.ended += 1
        self.processes.add(process)
        self.until = self._now()

    def _now(self) -> tuple[float, float, int]:
        return time.perf_counter(), time.process_time(), self.ended

    @property
    def figures(self) -> tuple[float, float, int]:
        """Seconds, the driver's CPU seconds, and trials."""
        wall, cpu, trials = (after - before for after, before in zip(self.until, self.since, strict=True))
        return wall, cpu, int(trials)


def wait_for_all(gate: Path) -> None:
    """What a worker does before its first trial."""
    (gate / str(os.getpid())).touch()
    while not (gate / "go").exists():
        time.sleep(0.1)


def sleeper(config: dict[str, object], gate: Path) -> dict[str, object]:
    """A trial without a network: what a worker of the cluster gives back after a second."""
    wait_for_all(gate)
    time.sleep(1.0)
    totals = dict.fromkeys(TOTALS, float(config["number"]))
    outcome = {"accuracy": 0.5, "totals": totals, "rates": {}, "seconds": 1.0, "reason": None}
    return {"accuracy": 0.5, "spikes": totals["spikes"], "outcome": json.dumps(outcome)}


def trained(config: dict[str, object], gate: Path, job: Job, folder: str) -> dict[str, object]:
    """The engine's own trial."""
    wait_for_all(gate)
    return _run_trial(config, job, folder, judge=None)


@contextmanager
def watched(clock: Clock):
    """Methods of the driver are timed."""
    real = {name: getattr(owner, method) for name, (owner, method) in PARTS.items()}
    complete = PlacementSearch.on_trial_complete

    def timed(name):
        def call(*args, **options):
            before = time.thread_time()
            try:
                return real[name](*args, **options)
            finally:
                clock.spent[name] += time.thread_time() - before

        return call

    def completed(self, trial_id, result=None, error=False):
        complete(self, trial_id, result, error)
        clock.note_end((result or {}).get("pid", 0))

    for name, (owner, method) in PARTS.items():
        setattr(owner, method, timed(name))
    PlacementSearch.on_trial_complete = completed
    try:
        yield
    finally:
        for name, (owner, method) in PARTS.items():
            setattr(owner, method, real[name])
        PlacementSearch.on_trial_complete = complete


def measure(experiment: Experiment, asleep: bool) -> Clock:
    """Run a search on this machine's Ray, as many workers as it says."""
    experiment.folder.mkdir(parents=True)
    clock = Clock(experiment.search.workers, experiment.folder / "gate")
    job = Job(experiment, open_space(experiment), open_tracker(experiment, {}))
    end = PlacementSearch.on_trial_complete

    def log(self, trial_id, result=None, error=False):
        """What a worker would have logged; here by the driver, whose time that adds to."""
        with job.tracker.child("trial", f"trial {trial_id}", {"site.block1.current": "ta"}) as run:
            run.log_metrics(dict.fromkeys(TOTALS, 1.0), step=1)
        end(self, trial_id, result, error)

    if asleep:
        PlacementSearch.on_trial_complete = log
    try:
        with watched(clock), cluster(job) as room, sending(job.tracker.sender()):
            gate = clock.gate.resolve()
            trial = tune.with_parameters(sleeper, gate=gate)
            if not asleep:
                trial = tune.with_parameters(trained, gate=gate, job=job, folder=os.getcwd())
            run_tune(trial, job, room, clock.look)
    finally:
        PlacementSearch.on_trial_complete = end
    return clock


def report(name: str, clock: Clock) -> None:
    """One row, and one for each part."""
    wall, cpu, trials = clock.figures
    rest = cpu - sum(clock.spent.values())
    parts = {**clock.spent, "Tune and Ray": rest}
    shown = ", ".join(f"{part} {1000 * seconds / trials:.1f}" for part, seconds in parts.items())
    again = len(clock.processes) - clock.workers
    print(
        f"| {name} | {60 * trials / wall:.0f} | {1000 * cpu / trials:.1f} | {cpu / wall:.0%} | {again} | {shown} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--asleep", type=int, nargs="*", default=[16, 32, 64])
    parser.add_argument("--rounds", type=int, default=6, help="trials for each worker")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| workers | trials a minute | driver's CPU ms a trial | of one core | begun again | of which |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, counts in (("real", options.real), ("asleep", options.asleep)):
            for workers in counts:
                shape = {"workers": workers, "trials": workers * options.rounds * (1 if kind == "asleep" else 4)}
                output = str(Path(folder) / f"{kind}{workers}")
                data = {**EXPERIMENT, "output": output, "search": {**EXPERIMENT["search"], **shape}}
                experiment = check_experiment(data)
                clock = measure(experiment, kind == "asleep")
                report(f"{workers}, {kind}", clock)
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
