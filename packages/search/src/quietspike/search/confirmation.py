"""After the search: the uniform placements, and the foremost of the others, are trained anew.

Each is measured on the test split, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from quietspike.core import Placement
from quietspike.core.errors import unknown_name
from quietspike.core.weights import write_whole
from quietspike.search.config import Experiment, expand_candidates
from quietspike.search.design import Design
from quietspike.search.execution import Training
from quietspike.search.job import Job
from quietspike.search.pareto import foremost
from quietspike.search.results import Confirmation, Outcome, TrialResult
from quietspike.search.space import Space

BEGUN = "begun"
"""The file that says that a task was begun and has not ended."""


@dataclass(frozen=True)
class Task:
    """One training of the confirmation.

    Args:
        design: what to train.
        seed: another one than the search's.
    """

    design: Design
    seed: int

    @property
    def placement(self) -> Placement:
        """Which attention where."""
        return self.design.placement

    def folder(self, search: Path) -> Path:
        """Where its weights and its outcome lie, in the search's folder."""
        return search / "confirm" / f"{self.design.digest}-seed{self.seed}"

    def outcome(self, search: Path) -> Outcome | None:
        """What it gave; ``None`` while it has not ended."""
        path = self.folder(search) / "outcome.json"
        return Outcome.of(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def record(self, job: Job, outcome: Outcome) -> None:
        """Keep what it gave."""
        write_whole(self.folder(job.folder) / "outcome.json", json.dumps(outcome.data).encode())

    def run(self, job: Job, worker: int) -> None:
        """Train, measure on the test split and keep the outcome, unless another worker does or did."""
        folder = self.folder(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "lock", timeout=0):
                if self.outcome(job.folder) is None:
                    (folder / BEGUN).touch()
                    training = Training(job.experiment, self.design, self.seed, folder)
                    params = {"seed": str(self.seed)}
                    outcome = job.attempt(training, "confirmation", f"seed {self.seed}", params, worker, test=True)
                    self.record(job, outcome)
                    (folder / BEGUN).unlink()
        except Timeout:
            return

    def abandoned(self, job: Job) -> bool:
        """Whether its worker died before it had an outcome; asking resets it."""
        begun = self.folder(job.folder) / BEGUN
        if not begun.exists():  # else the lock, held for a moment, could turn away a worker that wants to begin
            return False
        try:
            with FileLock(begun.with_name("lock"), timeout=0):
                begun.unlink(missing_ok=True)
                return self.outcome(job.folder) is None
        except Timeout:
            return False


@dataclass(frozen=True)
class Plan:
    """What is confirmed: each design with each seed.

    Args:
        uniform: the uniform placements that were asked for.
        best: the foremost of the search's other trials.
        names: of every uniform placement, asked for or not, the candidate that it has everywhere.
        seeds: the same for all designs, so that differences can be paired.
    """

    uniform: Sequence[Design]
    best: Sequence[Design]
    names: Mapping[Design, str]
    seeds: range

    @property
    def designs(self) -> list[Design]:
        """Each once."""
        return list(dict.fromkeys([*self.uniform, *self.best]))

    @property
    def tasks(self) -> list[Task]:
        """Seed by seed, so that an early stop leaves all designs comparable."""
        return [Task(design, seed) for seed in self.seeds for design in self.designs]


def plan_confirmation(experiment: Experiment, space: Space, trials: Sequence[TrialResult]) -> Plan:
    """What an experiment confirms after its trials.

    Raises:
        UnknownNameError: if ``confirm.uniform`` names what is no candidate.
    """
    options, search = experiment.confirm, experiment.search
    labels = list(space.uniform)
    if options.uniform is not None:
        labels = [choice.label for choice in expand_candidates(options.uniform)]
    for label in labels:
        if label not in space.uniform:
            raise unknown_name("confirm.uniform", label, space.uniform)
    uniform = [Design(space.uniform[label]) for label in labels]
    names: dict[Design, str] = {}
    for label, placement in space.uniform.items():
        names.setdefault(Design(placement), label)
    others = [trial for trial in trials if space.as_own(trial.design) not in uniform]
    best = foremost(others, search.goals, options.front)
    first = experiment.seed + 1
    return Plan(uniform, [space.as_own(trial.design) for trial in best], names, range(first, first + options.seeds))


def collect_confirmations(experiment: Experiment, plan: Plan) -> list[Confirmation]:
    """What the plan's tasks have given so far, by rising cost; at the end the designs whose tasks all failed."""
    confirmations = []
    for design in plan.designs:
        tasks = [Task(design, seed) for seed in plan.seeds]
        ended = {task.seed: outcome for task in tasks if (outcome := task.outcome(experiment.folder)) is not None}
        confirmation = Confirmation(
            design,
            {seed: outcome for seed, outcome in ended.items() if outcome.reason is None},
            uniform=plan.names.get(design),
            found=design in plan.best,
            failures={seed: outcome.reason for seed, outcome in ended.items() if outcome.reason is not None},
        )
        if ended:
            confirmations.append(confirmation)
    return sorted(confirmations, key=lambda c: (not c.outcomes, c.mean(experiment.search.objective)))
