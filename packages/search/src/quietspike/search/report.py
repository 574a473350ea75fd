"""The result of a search for people and for spreadsheets: tables, placements as YAML, CSV, the plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quietspike.core.weights import write_whole
from quietspike.search.comparison import paired_difference
from quietspike.search.conclusions import conclusions as conclusions
from quietspike.search.conclusions import in_points, in_words
from quietspike.search.design import Design
from quietspike.search.goals import Goals
from quietspike.search.job import Job
from quietspike.search.pareto import confirmed_front, least_violating
from quietspike.search.plot import plot_search
from quietspike.search.progress import UNITS, amount, short_number
from quietspike.search.results import Outcome, SearchResult, paired
from quietspike.search.tables import write_csv

OF_THE_NETWORK = ("parameters",)
"""Costs that are no sample's."""


def write_report(result: SearchResult) -> None:
    """Write ``trials.csv``, ``confirmation.csv``, ``pareto.png``, ``pareto.svg`` and placements as YAML.

    In ``front`` are those of the trials that no other dominates, in ``confirmed`` all that the test split was shown.
    """
    write_csv(result.folder / "trials.csv", _trial_rows(result))
    write_csv(result.folder / "confirmation.csv", _confirmation_rows(result))
    trials = {
        trial.design: f"{_summary(trial.outcome.value, result.goals)} (validation, trial {trial.number})"
        for trial in result.front
    }
    _write_placements(result.folder / "front", trials)
    confirmed = {
        c.design: f"{c.name}: {_summary(c.mean, result.goals)} (test, mean of {len(c.outcomes)} seeds)"
        for c in result.confirmations
        if c.outcomes
    }
    _write_placements(result.folder / "confirmed", confirmed)
    for suffix in ("png", "svg"):
        plot_search(result, result.folder / f"pareto.{suffix}")


def _write_placements(folder: Path, comments: Mapping[Design, str]) -> None:
    """One file a placement, by rank, and no others."""
    names = {}
    for rank, (design, comment) in enumerate(comments.items(), 1):
        names[f"{rank:02}-{design.digest}.yaml"] = f"# {comment}\n{yaml.safe_dump(design.data)}"
    for name, text in names.items():
        write_whole(folder / name, text.encode())
    for path in folder.glob("*.yaml"):
        if path.name not in names:
            path.unlink(missing_ok=True)


def _summary(figure: Callable[[str], float], goals: Goals) -> str:
    costs = [f"{amount(figure(cost), cost)}{'' if cost in OF_THE_NETWORK else ' a sample'}" for cost in goals.costs]
    return ", ".join([f"accuracy {figure('accuracy'):.4f}", *costs])


def log_report(result: SearchResult, job: Job) -> None:
    """Put the report's files, the front's weights and the summary into the search's MLflow run."""
    parent = job.tracker.parent
    for name in ("experiment.yaml", "trials.csv", "confirmation.csv", "pareto.png", "pareto.svg"):
        parent.log_artifact(result.folder / name)
    for folder in ("front", "confirmed"):
        for path in sorted((result.folder / folder).glob("*.yaml")):
            parent.log_artifact(path, folder)
    for trial in result.front:
        weights = job.trial_folder(trial.design) / "weights.safetensors"
        if weights.exists():  # a replayed table has none
            parent.log_artifact(weights, f"weights/{trial.design.digest}")
    metrics = {"hypervolume": result.hypervolume, "front_size": len(result.front), "trials": len(result.trials)}
    metrics |= {"stopped": result.stopped, "epochs_trained": result.epochs_trained}
    if result.best is not None:
        metrics |= {f"best_{name}": result.best.mean(name) for name in result.goals.figures}
    parent.log_metrics(metrics)


def print_report(result: SearchResult, console: Console) -> None:
    """Print the confirmed table (the front by validation where nothing was confirmed), and what it says."""
    console.print()
    console.print(_confirmed_table(result) if result.confirmations else _front_table(result))
    for sentence in [*conclusions(result), f"Placements, tables and plot are in {result.folder}"]:
        console.print(sentence, highlight=False, markup=False)


def _confirmed_table(result: SearchResult) -> Table:
    objective = result.objective
    none = result.confirmed("none")
    front = confirmed_front(result.confirmations, result.goals)
    others = result.goals.costs[1:]
    counts = sorted({len(c.outcomes) for c in result.confirmations if c.outcomes}) or [0]
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    seeds = "one seed" if counts == [1] else seeds
    table = Table(title=f"Confirmed on the test split, {seeds} (mean ± deviation; difference with 95 % interval)")
    for column in ("placement", "front"):
        table.add_column(column)
    for column in ("accuracy %", _heading(objective), "of none", "accuracy − none", *map(_heading, others)):
        table.add_column(column, justify="right")
    for c in result.confirmations:
        if not c.outcomes:
            continue
        gain = paired_difference(c, none, "accuracy") if none is not None and c is not none else None
        ours, theirs = paired(c, none) if none is not None else (c, c)
        share = f"{ours.mean(objective) / theirs.mean(objective):.1%}" if none and theirs.mean(objective) > 0 else ""
        table.add_row(
            Text(c.name, style="bold" if c is result.best else ""),
            "yes" if c in front else "",
            _spread(f"{100 * c.mean('accuracy'):.1f}", f"{100 * c.deviation('accuracy'):.1f}"),
            _spread(short_number(c.mean(objective)), short_number(c.deviation(objective))),
            share,
            in_points(gain) if gain else "",
            *(_spread(short_number(c.mean(cost)), short_number(c.deviation(cost))) for cost in others),
        )
    return table


def _front_table(result: SearchResult) -> Table:
    nearest = None if result.front else least_violating(result.trials, result.goals)
    title = "The front on the validation split" if nearest is None else "Nearest to search.constraints; none meets them"
    table = Table(title=title)
    table.add_column("placement")
    for column in ("accuracy %", *map(_heading, result.goals.costs)):
        table.add_column(column, justify="right")
    for trial in result.front or ([nearest] if nearest else []):
        figures = (short_number(trial.outcome.totals[cost]) for cost in result.goals.costs)
        table.add_row(Text(trial.design.label), f"{100 * trial.outcome.accuracy:.1f}", *figures)
    return table


def _heading(cost: str) -> str:
    return f"{in_words(cost)} {UNITS.get(cost, '')}".rstrip()


def _spread(mean: str, deviation: str) -> str:
    """Mean ± deviation; the mean alone where there is one seed."""
    return mean if deviation == "nan" else f"{mean} ± {deviation}"


def _trial_rows(result: SearchResult) -> list[dict[str, Any]]:
    front = {trial.number for trial in result.front}
    return [
        {
            "trial": trial.number,
            "placement": trial.design.json,
            "on_front": trial.number in front,
            "stopped": "" if trial.outcome.stopped is None else trial.outcome.stopped,
            **_violation(trial.outcome, result.goals),
            **_figures(trial.outcome),
        }
        for trial in result.trials
    ]


def _violation(outcome: Outcome, goals: Goals) -> dict[str, Any]:
    """A column that only a search with constraints has."""
    if not goals.constraints:
        return {}
    return {"violation": goals.violation(outcome.value) if outcome.complete else ""}


def _confirmation_rows(result: SearchResult) -> list[dict[str, Any]]:
    return [
        {
            "placement": c.design.json,
            "uniform": c.uniform or "",
            "found": c.found,
            "seed": seed,
            **_figures(outcome),
        }
        for c in result.confirmations
        for seed, outcome in sorted({**c.outcomes, **{s: Outcome.failed(r) for s, r in c.failures.items()}}.items())
    ]


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {
        "accuracy": outcome.accuracy if outcome.reason is None else "",
        "seconds": round(outcome.seconds, 2),
        "reason": outcome.reason or "",
        **outcome.totals,
        **{f"firing_rate/{layer}": rate for layer, rate in outcome.rates.items()},
    }
