"""Trains the rows of a published table and shows what came out beside what was printed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from quietspike.core import CheckpointError, Placement, QuietspikeError
from quietspike.core.networks import find_sites
from quietspike.core.training import DivergedError
from quietspike.core.weights import write_whole
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.reproduction import Reproduction, Row
from quietspike.search.results import Outcome
from quietspike.search.single import plan_training, train_design
from quietspike.search.tables import write_csv

PRINTED = {"accuracy": ".2f", "firing_rate": ".3f", "spikes": ",.0f", "efficiency": ".2f"}
"""The figures that papers print of a row, and how."""


@dataclass(frozen=True)
class Reproduced:
    """A row that was trained.

    Args:
        name: of the row.
        row: what was printed, and how it was counted.
        placement: its attention.
        outcomes: by seed, of the test split.
        base: of the row that rEE is against, by seed.
        failures: reasons, by seed.
    """

    name: str
    row: Row
    placement: Placement
    outcomes: Mapping[int, Outcome]
    base: Mapping[int, Outcome] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)

    def values(self, figure: str) -> list[float]:
        """One of ``PRINTED`` by seed, in the papers' units: accuracy in %."""
        seeds = sorted(self.outcomes)
        if figure == "efficiency":
            nothing = Outcome(totals={"energy_paper": math.nan})
            base = [self.base.get(seed, nothing).value("energy_paper") for seed in seeds]
            return [of / self.outcomes[seed].value("energy_paper") for of, seed in zip(base, seeds, strict=True)]
        if figure == "accuracy":
            return [100 * self.outcomes[seed].accuracy for seed in seeds]
        counted = f"spatial_{figure}" if self.row.counted == "spatial" else figure
        return [self.outcomes[seed].value(counted) for seed in seeds]


def reproduce(
    table: Reproduction, console: Console, rows: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Reproduced]:
    """Train rows of a table with ``confirm.seeds`` seeds each, and measure them on the test split after the last epoch.

    What has ended lies in its training's folder and is not trained again; the same call goes on where it was stopped.
    Rows that earlier calls trained with the same settings are shown, too, wherever their data lay. A training whose
    loss is not finite ends its row's seed and no other. The papers take the best epoch by the test split; here no
    choice is made on it.

    Args:
        table: of ``load_reproduction``.
        console: where to show what goes on, and the table at the end.
        rows: their names; all where there is none. Those that they are compared with are trained, too.
        overrides: keys of the experiment, for all rows.

    Raises:
        QuietspikeError: for a row, key or site that there is not, before anything is trained.
        CheckpointError: if what an earlier call left is damaged.
    """
    plans = {name: _plan(table, name, overrides) for name in table.choose(rows)}
    for number in range(max(plan.experiment.confirm.seeds for plan in plans.values()) or 1):
        for name, plan in plans.items():  # seed by seed, so that a stop leaves all rows comparable
            path = plan.outcome(number)
            if not path.exists():
                seed = plan.seed(number)
                console.print(f"{name}, seed {seed}: {plan.placement.label}", highlight=False, markup=False)
                outcome = _train(plan, seed, console)
                record = {"settings": plan.settings, "placement": plan.placement.data, "seed": seed}
                write_whole(path, json.dumps({**record, "outcome": outcome.data}).encode())
    made = _collect(table, overrides)
    output = next(iter(plans.values())).experiment.output
    path = output / f"{table.experiment['name']}.csv"
    write_csv(path, csv_rows(made))
    console.print(reproduced_table(table, made), markup=False)
    for one in made:
        for seed, reason in one.failures.items():
            console.print(f"{one.name}, seed {seed}: {reason}", highlight=False, markup=False)
    console.print(f"The figures of each seed are in {path}", highlight=False, markup=False)
    return made


@dataclass(frozen=True)
class _Plan:
    """A row's experiment, its placement on the sites that its backbone has, and what both were made from."""

    experiment: Experiment
    placement: Placement
    settings: Mapping[str, Any]

    def seed(self, number: int) -> int:
        """Of the training of that number."""
        return self.experiment.seed + number

    def outcome(self, number: int) -> Path:
        """Where that training leaves what it gave."""
        return plan_training(self.experiment, Design(self.placement), self.seed(number)).folder / "outcome.json"


def _plan(table: Reproduction, name: str, overrides: Sequence[str]) -> _Plan:
    experiment = table.row_experiment(name, overrides)
    try:
        dataset = open_dataset(experiment)
        sites = find_sites(*experiment.network, dataset)
        placement = table.rows[name].place(sites)
        for site in sites:
            placement(site)
    except QuietspikeError as error:
        raise type(error)(f"row {name}: {error}") from None
    return _Plan(experiment, placement, _settings(table.rows[name], experiment))


def _settings(row: Row, experiment: Experiment) -> dict[str, Any]:
    """What a row's figures depend on, wherever its data lie."""
    shaping = experiment.shaping
    dataset = {key: value for key, value in shaping["dataset"].items() if key != "root"}
    settings: dict[str, Any] = json.loads(json.dumps({**shaping, "dataset": dataset, "placement": row.placement}))
    return settings


def _train(plan: _Plan, seed: int, console: Console) -> Outcome:
    try:
        return train_design(plan.experiment, Design(plan.placement), console, seed)
    except DivergedError as error:
        return Outcome.failed(str(error))


def _collect(table: Reproduction, overrides: Sequence[str]) -> list[Reproduced]:
    """All rows that have an outcome, of this call or an earlier one with the same settings."""
    made: dict[str, Reproduced] = {}
    records = list(_records(table.row_experiment(next(iter(table.rows)), overrides)))
    for name, row in table.rows.items():
        experiment = table.row_experiment(name, overrides)
        settings, seeds = _settings(row, experiment), range(max(1, experiment.confirm.seeds))
        found = [
            record for record in records if record["settings"] == settings and record["seed"] - experiment.seed in seeds
        ]
        if found:
            outcomes = {record["seed"]: Outcome.of(record["outcome"]) for record in found}
            made[name] = Reproduced(
                name,
                row,
                Placement(found[-1]["placement"]),
                {seed: outcome for seed, outcome in outcomes.items() if outcome.reason is None},
                failures={seed: outcome.reason for seed, outcome in outcomes.items() if outcome.reason is not None},
            )
    bases = {name: made[base].outcomes for name in made if (base := table.base(name)) in made}
    return [replace(one, base=bases.get(name, {})) for name, one in made.items()]


def _records(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """What trainings of a table have left, the oldest first."""
    paths = experiment.output.glob(f"{experiment.name}-*/train/*/outcome.json")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            yield {key: record[key] for key in ("settings", "placement", "seed", "outcome")}
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path}: damaged; remove it to train anew") from None


def reproduced_table(table: Reproduction, made: Sequence[Reproduced]) -> Table:
    """Published and ours side by side."""
    shown = Table(title=f"{table.title} ({table.source})")
    shown.add_column("row")
    for column in ("accuracy %", "NASAR", "spikes", "rEE"):
        shown.add_column(f"{column}, published", justify="right")
        shown.add_column("ours", justify="right")
    for one in made:
        cells = []
        for figure, form in PRINTED.items():
            published = getattr(one.row.published, figure)
            cells += ["" if published is None else f"{published:{form}}", _mean_text(one.values(figure), form)]
        shown.add_row(one.name, *cells)
    return shown


def _mean_text(values: Sequence[float], form: str) -> str:
    """Mean and sample deviation."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    mean = f"{np.mean(finite):{form}}"
    return f"{mean} ± {np.std(finite, ddof=1):{form}}" if len(finite) > 1 else mean


def csv_rows(made: Sequence[Reproduced]) -> Iterator[dict[str, Any]]:
    """A line a row and seed."""
    for one in made:
        published = {f"{figure}_published": getattr(one.row.published, figure) for figure in PRINTED}
        ours = [one.values(figure) for figure in PRINTED]
        for seed, *values in zip(sorted(one.outcomes), *ours, strict=True):
            known = [None if math.isnan(value) else value for value in values]
            figures = dict(zip(PRINTED, known, strict=True))
            yield {"row": one.name, "placement": one.placement.json, "seed": seed, **published, **figures}
