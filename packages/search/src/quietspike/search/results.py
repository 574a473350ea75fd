"""What a search gives: trials, the front, and the confirmed figures of the placements that matter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quietspike.core import Placement
from quietspike.search.design import Design
from quietspike.search.goals import Goals


@dataclass(frozen=True)
class Outcome:
    """What one training gave.

    Args:
        accuracy: 0..1, of the validation split for a trial and of the test split for a confirmation.
        totals: cost of a sample by name, as in ``Cost.totals``.
        rates: firing rate by neuron layer.
        seconds: of the training.
        reason: why it failed; ``None`` where it did not.
        stopped: the epoch after which it was stopped early, which its figures are of; ``None`` where it was not.
        curve: by the name of a metric, its value after each epoch, as MLflow is given them; of the validation split.
    """

    accuracy: float = math.nan
    totals: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str | None = None
    stopped: int | None = None
    curve: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether it ran to its end and gave figures; nothing else is a result."""
        return self.reason is None and self.stopped is None

    def value(self, name: str) -> float:
        """The accuracy, or a cost total."""
        return self.accuracy if name == "accuracy" else self.totals[name]

    @classmethod
    def failed(cls, reason: str) -> Outcome:
        """One that gave nothing."""
        return cls(reason=reason)

    @property
    def data(self) -> dict[str, Any]:
        """Plain data; ``Outcome.of(outcome.data) == outcome``."""
        return {**asdict(self), "accuracy": None if math.isnan(self.accuracy) else self.accuracy}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Outcome:
        """From ``data``."""
        return cls(**{**data, "accuracy": math.nan if data["accuracy"] is None else data["accuracy"]})


@dataclass(frozen=True)
class TrialResult:
    """One trial of the search, measured on the validation split."""

    number: int
    design: Design
    outcome: Outcome

    @property
    def placement(self) -> Placement:
        """Which attention where."""
        return self.design.placement


@dataclass(frozen=True)
class Confirmation:
    """One design, trained anew with several seeds and measured on the test split.

    Args:
        design: which.
        outcomes: by seed; those that failed are left out.
        uniform: the candidate that it has everywhere; ``None`` for a mixed placement.
        found: whether the search's trials put it forward, beside the uniform placements.
        failures: reasons, by seed.
    """

    design: Design
    outcomes: Mapping[int, Outcome]
    uniform: str | None = None
    found: bool = False
    failures: Mapping[int, str] = field(default_factory=dict)

    @property
    def placement(self) -> Placement:
        """Which attention where."""
        return self.design.placement

    @property
    def name(self) -> str:
        """For people: what it has everywhere, or what it has where."""
        if self.uniform is None:
            return self.design.label
        return self.uniform if self.uniform == "none" else f"{self.uniform} everywhere"

    def values(self, name: str) -> list[float]:
        """Accuracy, or a cost total, by rising seed."""
        return [self.outcomes[seed].value(name) for seed in sorted(self.outcomes)]

    def at(self, seeds: Iterable[int]) -> Confirmation:
        """The same with some of its seeds, as where it is compared with one that has no others."""
        return replace(self, outcomes={seed: self.outcomes[seed] for seed in seeds if seed in self.outcomes})

    def mean(self, name: str) -> float:
        """Mean over the seeds; NaN where all failed."""
        values = self.values(name)
        return float(np.mean(values)) if values else math.nan

    def deviation(self, name: str) -> float:
        """Sample standard deviation over the seeds; NaN for one seed."""
        values = self.values(name)
        return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


@dataclass(frozen=True)
class SearchResult:
    """What ``run_search`` gives back.

    Args:
        folder: where everything lies.
        goals: what was sought.
        trials: all that ran to an end, failures included.
        front: the feasible trials that no other dominates, by rising cost.
        hypervolume: of the front, in accuracy × decades of each cost.
        confirmations: of the front and of uniform placements, by rising cost.
        epochs: of a training that runs to its end.
    """

    folder: Path
    goals: Goals
    trials: Sequence[TrialResult]
    front: Sequence[TrialResult]
    hypervolume: float
    confirmations: Sequence[Confirmation]
    epochs: int

    @property
    def stopped(self) -> int:
        """How many trials were stopped early."""
        return sum(trial.outcome.stopped is not None for trial in self.trials)

    @property
    def epochs_trained(self) -> int:
        """By all trials but those that failed, whose epochs nobody counted."""
        return sum(t.outcome.stopped or self._epochs_of(t) for t in self.trials if t.outcome.reason is None)

    @property
    def epochs_in_full(self) -> int:
        """What these trials would have been trained for, had none been stopped."""
        return sum(self._epochs_of(trial) for trial in self.trials if trial.outcome.reason is None)

    def _epochs_of(self, trial: TrialResult) -> int:
        return int(trial.design.settings.get("train.epochs", self.epochs))

    @property
    def objective(self) -> str:
        """The first cost."""
        return self.goals.objective

    def confirmed(self, uniform: str) -> Confirmation | None:
        """The confirmation of a uniform placement; ``None`` where it was not confirmed."""
        return next((c for c in self.confirmations if c.uniform == uniform), None)

    @property
    def best(self) -> Confirmation | None:
        """The confirmed design of least cost that is no less accurate than no attention and feasible, by their means.

        Each is compared over the seeds that both have; ``None`` where no attention was not confirmed.
        """
        none = self.confirmed("none")
        if none is None:
            return None
        pairs = [(c, *paired(c, none)) for c in self.confirmations]
        fit = [c for c, ours, theirs in pairs if ours.outcomes and ours.mean("accuracy") >= theirs.mean("accuracy")]
        fit = [c for c in fit if self.goals.feasible(c.mean)]
        return min(fit, key=lambda c: c.mean(self.objective), default=None)


def paired(ours: Confirmation, theirs: Confirmation) -> tuple[Confirmation, Confirmation]:
    """Both, over the seeds that both have: a failure of one must not favour it."""
    shared = sorted(ours.outcomes.keys() & theirs.outcomes.keys())
    return ours.at(shared), theirs.at(shared)
