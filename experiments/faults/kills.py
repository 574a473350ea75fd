"""Kills workers and drivers of one search at random, and compares its end with that of a search nobody touched.

    python experiments/faults/kills.py --kills 100

Each kill is a SIGKILL, to the worker or to the driver, most of them within twice the time that the slowest training
takes where nobody kills; a killed driver is started again by the same command. A placement that loses three workers is
given up by design, so that the third kill of one placement goes to the driver.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from quietspike.search.config import check_experiment
from quietspike.search.liveness import is_alive
from quietspike.search.space import open_space
from quietspike.search.study import DEATHS, SearchStudy

EXPERIMENT = {
    "name": "kills",
    "device": "cpu",
    "dataset": {"name": "digits_dvs", "steps": 4, "size": 12, "train": 60, "validation": 20, "test": 20},
    "backbone": {"name": "conv3", "widths": [4, 4, 4], "pools": [2, 2, 1], "hidden": [8]},
    "train": {"epochs": 2, "batch_size": 20, "learning_rate": 0.01},
    "search": {"sampler": "nsga2", "workers": 1, "population": 8, "candidates": ["none", "ta", "ca", "csa"]},
    "confirm": {"seeds": 0},
}
MORE = 10
"""Trials that are added where a search has ended before all its kills."""


class Victim:
    """A search in a folder of its own.

    Args:
        folder: where.
        engine: ``optuna`` or ``ray``.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.trials = MORE
        self.file = folder / "kills.yaml"
        folder.mkdir(parents=True)
        self.data = {**EXPERIMENT, "output": str(folder / "runs")}
        self.data["search"] = {**EXPERIMENT["search"], "engine": engine}
        self.file.write_text(yaml.safe_dump(self.data), encoding="utf-8")
        self.experiment = check_experiment(self.data)
        self.driver: subprocess.Popen[str] | None = None
        self._opened: SearchStudy | None = None

    def start(self) -> None:
        """Start the command, or start it again."""
        command = [sys.executable, "-c", "from quietspike.search.cli import main; raise SystemExit(main())", "search"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        self.driver = subprocess.Popen([*command, self.file, "--search.trials", str(self.trials)], **pipes)

    def end(self) -> None:
        """Wait for the end of the search."""
        _, errors = self.driver.communicate(timeout=600)
        if self.driver.returncode:
            raise SystemExit(f"the search failed: {errors}")

    @property
    def study(self) -> SearchStudy:
        """Its journal."""
        return SearchStudy(self.experiment, open_space(self.experiment), self.experiment.folder)

    def worker(self) -> psutil.Process | None:
        """The process that trains; ``None`` while there is none."""
        for process in psutil.Process(self.driver.pid).children(recursive=True):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "spawn_main" in line or "ray::ImplicitFunc" in line:
                return process
        return None

    def all_trials(self) -> list[FrozenTrial]:
        """As the journal has them now; opening it writes, so that it is opened once."""
        if self._opened is None and (self.experiment.folder / "study.journal").exists():
            self._opened = self.study
        return self._opened.study.get_trials(deepcopy=False) if self._opened else []

    def await_training(self) -> None:
        """Wait until a living process has a claim, or the search has ended."""
        while self.driver.poll() is None:
            running = [trial for trial in self.all_trials() if trial.state == TrialState.RUNNING]
            if running and self.worker() is not None and is_alive(running[0].user_attrs.get("worker")):
                return
            time.sleep(0.05)

    @property
    def facts(self) -> list[tuple[object, ...]]:
        """Placements in their order, with accuracy and costs."""
        results = self.study.results()
        return [(t.design, t.outcome.reason, t.outcome.accuracy, dict(t.outcome.totals)) for t in results]

    @property
    def longest_trial(self) -> float:
        """Seconds from its begin to its end: that of the first, for which a worker must start."""
        return max(trial.duration.total_seconds() for trial in self.all_trials())

    def runs(self) -> collections.Counter[str]:
        """MLflow's runs by kind and status."""
        client = MlflowClient(f"sqlite:///{self.experiment.output}/mlflow.db")
        found = client.search_runs([group.experiment_id for group in client.search_experiments()], max_results=5000)
        return collections.Counter(f"{run.data.tags['quietspike.kind']} {run.info.status}" for run in found)


def kill_at_random(victim: Victim, kills: int, seed: int, longest: float) -> collections.Counter[str]:
    """Kill ``kills`` times; says whom, how often. The search runs on.

    Args:
        victim: whom.
        kills: how often.
        seed: of what is drawn.
        longest: seconds, at most, from the begin of a training to a kill.
    """
    draw = random.Random(seed)
    killed: collections.Counter[str] = collections.Counter()
    hits: collections.Counter[object] = collections.Counter()
    victim.start()
    while killed.total() < kills:
        if victim.driver.poll() is not None:
            victim.end()
            victim.trials += MORE
            victim.start()
            continue
        if draw.random() < 0.1:  # in its start or end, too
            time.sleep(draw.uniform(0, 10))
        else:
            victim.await_training()
            time.sleep(draw.uniform(0, longest))
        if victim.driver.poll() is not None:
            continue
        running = [trial for trial in victim.all_trials() if trial.state == TrialState.RUNNING]
        worker = victim.worker()
        point = tuple(sorted(running[0].params.items())) if running else None
        if worker is None or draw.random() < 0.4 or hits[point] >= DEATHS - 1:
            victim.driver.kill()
            victim.driver.communicate()
            killed["driver"] += 1
            victim.start()
        elif worker.is_running():
            worker.kill()
            hits[point] += 1
            killed["worker"] += 1
    return killed


def main(arguments: list[str] | None = None) -> int:
    """Kill, let it end, compare; 0 where nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--engine", default="optuna")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        untouched = Victim(Path(folder) / "untouched", "optuna")
        untouched.start()
        untouched.end()
        victim = Victim(Path(folder) / "victim", options.engine)
        killed = kill_at_random(victim, options.kills, options.seed, 2 * untouched.longest_trial)
        victim.end()
        untouched.trials = victim.trials
        untouched.start()
        untouched.end()
        same = victim.facts == untouched.facts
        mine, theirs = victim.runs(), untouched.runs()
    whole = mine["trial FINISHED"] == theirs["trial FINISHED"] and not mine["trial RUNNING"]
    for name, value in {
        "engine": options.engine,
        "SIGKILLs": f"{killed.total()}: {killed['worker']} of workers, {killed['driver']} of drivers",
        "trials": victim.trials,
        "equal to the untouched search": "yes" if same else "NO",
        "MLflow": ", ".join(f"{count} {name}" for name, count in sorted(mine.items())),
        "MLflow of the untouched": ", ".join(f"{count} {name}" for name, count in sorted(theirs.items())),
        "minutes": f"{(time.monotonic() - begin) / 60:.1f}",
    }.items():
        print(f"| {name} | {value} |", flush=True)
    return 0 if same and whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
