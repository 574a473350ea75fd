"""The result of a search for people and for spreadsheets: tables, placements as YAML, CSV, the plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quietspike.core.weights import write_whole
from quietspike.search.comparison import Difference, paired_difference
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.pareto import confirmed_front, dominates
from quietspike.search.plot import plot_search
from quietspike.search.progress import amount
from quietspike.search.results import Confirmation, Outcome, SearchResult, paired
from quietspike.search.tables import write_csv


def write_report(result: SearchResult) -> None:
    """Write ``trials.csv``, ``confirmation.csv``, ``pareto.png``, ``pareto.svg`` and placements as YAML.

    In ``front`` are those of the trials that no other dominates, in ``confirmed`` all that the test split was shown.
    """
    write_csv(result.folder / "trials.csv", _trial_rows(result))
    write_csv(result.folder / "confirmation.csv", _confirmation_rows(result))
    trials = {
        trial.design: f"{_summary(trial.outcome.value, result.objective)} (validation, trial {trial.number})"
        for trial in result.front
    }
    _write_placements(result.folder / "front", trials)
    confirmed = {
        c.design: f"{c.name}: {_summary(c.mean, result.objective)} (test, mean of {len(c.outcomes)} seeds)"
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


def _summary(figure: Callable[[str], float], objective: str) -> str:
    return f"accuracy {figure('accuracy'):.4f}, {amount(figure(objective), objective)} a sample"


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
        parent.log_artifact(weights, f"weights/{trial.design.digest}")
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
    if result.front and result.hypervolume == 0:
        sentences.append("No trial betters search.hypervolume_reference")
    failed = [trial.outcome.reason for trial in result.trials if trial.outcome.reason is not None]
    failed_later = [reason for c in result.confirmations for reason in c.failures.values()]
    for kind, reasons in (("trials", failed), ("confirmations", failed_later)):
        if reasons:
            sentences.append(f"{len(reasons)} {kind} failed, the first with {reasons[0]}")
    best = result.best
    if not result.trials:
        sentences.append("No trial has ended yet")
    measured = [c for c in result.confirmations if c.outcomes]
    if best is not None:
        sentences.append(f"Best placement, of {len(measured)} and by the same test split: {best.name}")
        others = [c for c in measured if c is not best and _kind(c) in ("none", "tcsa")]
        sentences.extend(f"  against {c.name}: {_versus(best, c, result.objective)}" for c in others)
    elif measured:
        sentences.append("No placement is called the best: none, against which it is judged, was not confirmed")
    return [*sentences, _mixed_against_uniform(measured, result.objective)] if measured else sentences


def _kind(confirmation: Confirmation) -> str:
    """The attention that it has everywhere, without options; empty for a mixed placement."""
    return (confirmation.uniform or "").partition("(")[0]


def _mixed_against_uniform(measured: Sequence[Confirmation], objective: str) -> str:
    uniform = [c for c in measured if c.uniform is not None]
    mixed = [c for c in measured if c.uniform is None]
    if not mixed or not uniform:
        return "No mixed placement was confirmed beside a uniform one"
    standing = [[u.name for u in uniform if not dominates(c, u, objective)] for c in mixed]
    best, undefeated = min(zip(mixed, standing, strict=True), key=lambda pair: len(pair[1]))
    if not undefeated:
        return f"A mixed placement dominates every uniform one: {best.name}"
    beaten = f"{len(uniform) - len(undefeated)} of {len(uniform)}"
    return (
        f"No mixed placement dominates every uniform one; {best.name} dominates {beaten}, "
        f"but not {', '.join(undefeated)}"
    )


def _versus(ours: Confirmation, theirs: Confirmation, objective: str) -> str:
    ours, theirs = paired(ours, theirs)
    if not ours.outcomes:
        return "no seed was measured of both"
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
    counts = sorted({len(c.outcomes) for c in result.confirmations if c.outcomes}) or [0]
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    seeds = "one seed" if counts == [1] else seeds
    table = Table(title=f"Confirmed on the test split, {seeds} (mean ± deviation; difference with 95 % interval)")
    for column in ("placement", "front"):
        table.add_column(column)
    for column in ("accuracy %", objective.replace("_", " "), "of none", "accuracy − none"):
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
            _spread(_number(c.mean(objective)), _number(c.deviation(objective))),
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
        table.add_row(Text(trial.design.label), *figures)
    return table


def _spread(mean: str, deviation: str) -> str:
    """Mean ± deviation; the mean alone where there is one seed."""
    return mean if deviation == "nan" else f"{mean} ± {deviation}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _trial_rows(result: SearchResult) -> list[dict[str, Any]]:
    front = {trial.number for trial in result.front}
    return [
        {
            "trial": trial.number,
            "placement": trial.design.json,
            "on_front": trial.number in front,
            **_figures(trial.outcome),
        }
        for trial in result.trials
    ]


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
