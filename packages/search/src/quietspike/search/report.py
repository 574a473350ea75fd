"""The result of a search for people and for spreadsheets: tables, placements as YAML, CSV, the plot."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quietspike.core.weights import write_whole
from quietspike.search.comparison import Difference, paired_difference
from quietspike.search.job import Job
from quietspike.search.pareto import confirmed_front, dominates
from quietspike.search.plot import plot_search
from quietspike.search.progress import amount
from quietspike.search.results import Confirmation, Outcome, SearchResult


def write_report(result: SearchResult) -> None:
    """Write ``trials.csv``, ``confirmation.csv``, ``front/*.yaml``, ``pareto.png`` and ``pareto.svg``."""
    _write_csv(result.folder / "trials.csv", _trial_rows(result))
    _write_csv(result.folder / "confirmation.csv", _confirmation_rows(result))
    front = result.folder / "front"
    shutil.rmtree(front, ignore_errors=True)
    for rank, trial in enumerate(result.front, 1):
        figures = f"accuracy {trial.outcome.accuracy:.4f}, {amount(trial.outcome.totals['spikes'], 'spikes')} a sample"
        text = f"# {figures} (validation, trial {trial.number})\n{yaml.safe_dump(trial.placement.data)}"
        write_whole(front / f"{rank:02}-{trial.placement.digest}.yaml", text.encode())
    for suffix in ("png", "svg"):
        plot_search(result, result.folder / f"pareto.{suffix}")


def log_report(result: SearchResult, job: Job) -> None:
    """Put the report's files, the front's weights and the summary into the search's MLflow run."""
    parent = job.tracker.parent
    for name in ("experiment.yaml", "trials.csv", "confirmation.csv", "pareto.png", "pareto.svg"):
        parent.log_artifact(result.folder / name)
    for path in sorted((result.folder / "front").iterdir()):
        parent.log_artifact(path, "front")
    for trial in result.front:
        weights = job.trial_folder(trial.placement) / "weights.safetensors"
        parent.log_artifact(weights, f"weights/{trial.placement.digest}")
    metrics = {"hypervolume": result.hypervolume, "front_size": len(result.front), "trials": len(result.trials)}
    if result.best is not None:
        metrics["best_accuracy"] = result.best.mean("accuracy")
        metrics[f"best_{result.objective}"] = result.best.mean(result.objective)
    parent.log_metrics(metrics)


def print_report(result: SearchResult, console: Console) -> None:
    """Print the confirmed table (the front by validation where nothing was confirmed), and what it says."""
    console.print()
    console.print(_confirmed_table(result) if result.confirmations else _front_table(result))
    for sentence in [*conclusions(result), f"Placements, tables and plot are in {result.folder}"]:
        console.print(sentence, highlight=False, markup=False)


def conclusions(result: SearchResult) -> list[str]:
    """What the confirmed figures say, in sentences."""
    sentences = [f"Hypervolume of the front (validation): {result.hypervolume:.4f} accuracy × decades"]
    failed = [trial.outcome.reason for trial in result.trials if trial.outcome.reason is not None]
    failed_later = [reason for c in result.confirmations for reason in c.failures.values()]
    for kind, reasons in (("trials", failed), ("confirmations", failed_later)):
        if reasons:
            sentences.append(f"{len(reasons)} {kind} failed, the first with {reasons[0]}")
    best = result.best
    if not result.trials:
        sentences.append("No trial has ended yet")
    if best is None:
        return sentences
    sentences.append(f"Best placement: {best.name}")
    for label in ("none", "tcsa"):
        other = result.confirmed(label)
        if other is not None and other.outcomes and other is not best:
            sentences.append(f"  against {other.name}: {_versus(best, other, result.objective)}")
    return [*sentences, _mixed_against_uniform(result)]


def _mixed_against_uniform(result: SearchResult) -> str:
    measured = [c for c in result.confirmations if c.outcomes]
    uniform = [c for c in measured if c.uniform is not None]
    mixed = [c for c in measured if c.uniform is None]
    if not mixed or not uniform:
        return "No mixed placement was confirmed beside a uniform one"
    standing = [[u.name for u in uniform if not dominates(c, u, result.objective)] for c in mixed]
    best, undefeated = min(zip(mixed, standing, strict=True), key=lambda pair: len(pair[1]))
    if not undefeated:
        return f"A mixed placement dominates every uniform one: {best.name}"
    beaten = f"{len(uniform) - len(undefeated)} of {len(uniform)}"
    return (
        f"No mixed placement dominates every uniform one; {best.name} dominates {beaten}, "
        f"but not {', '.join(undefeated)}"
    )


def _versus(ours: Confirmation, theirs: Confirmation, objective: str) -> str:
    gain = paired_difference(ours, theirs, "accuracy")
    points = _points(gain) if gain else f"{100 * (ours.mean('accuracy') - theirs.mean('accuracy')):+.1f}"
    return f"{_saving(ours.mean(objective), theirs.mean(objective), objective)}, accuracy {points} points"


def _saving(ours: float, theirs: float, objective: str) -> str:
    if theirs == 0:
        return f"{amount(ours, objective)} against 0"
    less = "less" if objective == "energy" else "fewer"
    return f"{abs(1 - ours / theirs):.1%} {less if ours <= theirs else 'more'} {objective.replace('_', ' ')}"


def _points(difference: Difference) -> str:
    mean, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _confirmed_table(result: SearchResult) -> Table:
    objective = result.objective
    none = result.confirmed("none")
    front = confirmed_front(result.confirmations, objective)
    seeds = max(len(c.outcomes) for c in result.confirmations)
    table = Table(title=f"Confirmed on the test split, {seeds} seeds (mean ± deviation; difference with 95 % interval)")
    for column in ("placement", "front"):
        table.add_column(column)
    for column in ("accuracy %", objective.replace("_", " "), "of none", "accuracy − none"):
        table.add_column(column, justify="right")
    for c in result.confirmations:
        if not c.outcomes:
            continue
        gain = paired_difference(c, none, "accuracy") if none is not None and c is not none else None
        share = f"{c.mean(objective) / none.mean(objective):.1%}" if none and none.mean(objective) > 0 else ""
        table.add_row(
            Text(c.name, style="bold" if c is result.best else ""),
            "yes" if c in front else "",
            f"{100 * c.mean('accuracy'):.1f} ± {100 * c.deviation('accuracy'):.1f}",
            f"{_number(c.mean(objective))} ± {_number(c.deviation(objective))}",
            share,
            _points(gain) if gain else "",
        )
    return table


def _front_table(result: SearchResult) -> Table:
    table = Table(title="The front on the validation split")
    table.add_column("placement")
    table.add_column("accuracy %", justify="right")
    table.add_column(result.objective.replace("_", " "), justify="right")
    for trial in result.front:
        outcome = trial.outcome
        figures = (f"{100 * outcome.accuracy:.1f}", _number(outcome.totals[result.objective]))
        table.add_row(Text(trial.placement.label), *figures)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _trial_rows(result: SearchResult) -> list[dict[str, Any]]:
    front = {trial.number for trial in result.front}
    return [
        {
            "trial": trial.number,
            "placement": trial.placement.json,
            "on_front": trial.number in front,
            **_figures(trial.outcome),
        }
        for trial in result.trials
    ]


def _confirmation_rows(result: SearchResult) -> list[dict[str, Any]]:
    return [
        {
            "placement": c.placement.json,
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
    }


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())
