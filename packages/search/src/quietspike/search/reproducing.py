"""Trains the rows of a published table and shows what came out beside what was printed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from quietspike.core import Placement, QuietspikeError
from quietspike.core.networks import find_sites
from quietspike.core.weights import write_whole
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.reproduction import Reproduction, Row
from quietspike.search.results import Outcome
from quietspike.search.single import plan_training, train_placement

FIGURES = ("accuracy", "firing_rate", "spikes", "efficiency")


@dataclass(frozen=True)
class Reproduced:
    """A row that was trained.

    Args:
        name: of the row.
        row: what was printed, and how it was counted.
        placement: its attention.
        outcomes: by seed, of the test split.
        base: of the row that rEE is against, by seed.
    """

    name: str
    row: Row
    placement: Placement
    outcomes: Mapping[int, Outcome]
    base: Mapping[int, Outcome]

    def values(self, figure: str) -> list[float]:
        """One of ``FIGURES`` by seed, in the papers' units: accuracy in %."""
        seeds = sorted(self.outcomes)
        if figure == "efficiency":
            nothing = Outcome(totals={"energy_paper": math.nan})
            base = [self.base.get(seed, nothing).value("energy_paper") for seed in seeds]
            return [of / self.outcomes[seed].value("energy_paper") for of, seed in zip(base, seeds, strict=True)]
        if figure == "accuracy":
            return [100 * self.outcomes[seed].accuracy for seed in seeds]
        if figure == "firing_rate" and self.row.counted == "spatial":
            figure = "spatial_firing_rate"
        return [self.outcomes[seed].value(figure) for seed in seeds]


def reproduce(
    table: Reproduction, console: Console, rows: Sequence[str] = (), overrides: Sequence[str] = ()
) -> list[Reproduced]:
    """Train rows of a table with ``confirm.seeds`` seeds each, and measure them on the test split after the last epoch.

    What has ended lies in its training's folder and is not trained again; the same call goes on where it was stopped,
    and rows that an earlier one trained are shown, too. The papers take the best epoch by the test split; here no
    choice is made on it.

    Args:
        table: of ``load_reproduction``.
        console: where to show what goes on, and the table at the end.
        rows: their names; all where there is none. Those that they are compared with are trained, too.
        overrides: keys of the experiment, for all rows.

    Raises:
        QuietspikeError: for a row, key or site that there is not, before anything is trained.
        DivergedError: when a loss is not finite.
    """
    plans = {name: _plan(table, name, overrides) for name in table.choose(rows)}
    experiment, _ = next(iter(plans.values()))
    for number in range(max(1, experiment.confirm.seeds)):  # seed by seed, so that a stop leaves all rows comparable
        for name, (experiment, placement) in plans.items():
            seed = experiment.seed + number
            if _outcome(experiment, placement, seed) is None:
                console.print(f"{name}, seed {seed}: {placement.label}", highlight=False, markup=False)
                outcome = train_placement(experiment, placement, console, seed)
                write_whole(_outcome_path(experiment, placement, seed), json.dumps(outcome.data).encode())
    made = _collect(table, overrides)
    path = experiment.output / f"{experiment.name}.csv"
    write_csv(made, path)
    console.print(reproduced_table(table, made), markup=False)
    console.print(f"The figures of each seed are in {path}", highlight=False, markup=False)
    return made


def _plan(table: Reproduction, name: str, overrides: Sequence[str]) -> tuple[Experiment, Placement]:
    """A row's experiment, and its placement on the sites that its backbone has."""
    experiment = table.row_experiment(name, overrides)
    try:
        dataset = open_dataset(experiment)
        sites = find_sites(*experiment.network, dataset)
        placement = table.rows[name].place(sites)
        for site in sites:
            placement(site)
        return experiment, placement
    except QuietspikeError as error:
        raise type(error)(f"row {name}: {error}") from None


def _outcome_path(experiment: Experiment, placement: Placement, seed: int) -> Path:
    return plan_training(experiment, placement, seed).folder / "outcome.json"


def _outcome(experiment: Experiment, placement: Placement, seed: int) -> Outcome | None:
    """What a training gave; ``None`` while it has not ended."""
    path = _outcome_path(experiment, placement, seed)
    return Outcome.of(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _collect(table: Reproduction, overrides: Sequence[str]) -> list[Reproduced]:
    """All rows that have an outcome, of this call or an earlier one."""
    placements: dict[str, Placement] = {}
    ended: dict[str, dict[int, Outcome]] = {}
    for name in table.rows:
        try:
            experiment, placement = _plan(table, name, overrides)
        except QuietspikeError:  # no row of this call: its data are not there, or an override does not suit it
            continue
        seeds = range(experiment.seed, experiment.seed + max(1, experiment.confirm.seeds))
        found = {seed: outcome for seed in seeds if (outcome := _outcome(experiment, placement, seed)) is not None}
        if found:
            placements[name], ended[name] = placement, found
    return [
        Reproduced(name, table.rows[name], placement, ended[name], ended.get(table.base(name), {}))
        for name, placement in placements.items()
    ]


def reproduced_table(table: Reproduction, made: Sequence[Reproduced]) -> Table:
    """Published and ours side by side."""
    shown = Table(title=f"{table.title} ({table.source})")
    shown.add_column("row")
    for column in ("accuracy %", "NASAR", "spikes", "rEE"):
        shown.add_column(f"{column}, published", justify="right")
        shown.add_column("ours", justify="right")
    formats = dict(zip(FIGURES, (".2f", ".3f", ",.0f", ".2f"), strict=True))
    for one in made:
        cells = []
        for figure in FIGURES:
            published, values = getattr(one.row.published, figure), one.values(figure)
            cells += ["" if published is None else f"{published:{formats[figure]}}", _spread(values, formats[figure])]
        shown.add_row(one.name, *cells)
    return shown


def _spread(values: Sequence[float], form: str) -> str:
    """Mean and sample deviation."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    mean = f"{np.mean(finite):{form}}"
    return f"{mean} ± {np.std(finite, ddof=1):{form}}" if len(finite) > 1 else mean


def write_csv(made: Sequence[Reproduced], path: Path) -> None:
    """A line a row and seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "placement", "seed", *(f"{name}_published" for name in FIGURES), *FIGURES])
    for one in made:
        published = [getattr(one.row.published, figure) for figure in FIGURES]
        columns = zip(*(one.values(figure) for figure in FIGURES), strict=True)
        for seed, values in zip(sorted(one.outcomes), columns, strict=True):
            writer.writerow([one.name, one.placement.json, seed, *published, *values])
    write_whole(path, text.getvalue().encode())
