"""The Pareto plot: accuracy against spikes, trials and confirmed placements."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from quietspike.search.results import SearchResult

AXIS_LABELS = {
    "spikes": "Spikes per sample",
    "energy": "Energy per sample (µJ)",
    "synaptic_operations": "Synaptic operations per sample",
}
FRONT_COLOUR, UNIFORM_COLOUR, TRIAL_COLOUR = "#0072b2", "#d55e00", "#9a9a9a"  # told apart by the colour-blind too


def plot_search(result: SearchResult, path: Path) -> None:
    """Write the plot; the file's ending decides its format."""
    with mpl.rc_context(
        {"font.size": 9, "svg.hashsalt": "quietspike", "axes.spines.right": False, "axes.spines.top": False}
    ):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw_trials(axes, result)
        _draw_confirmations(axes, result)
        axes.set_xscale("log")
        for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            ticks(StrMethodFormatter("{x:,g}"))
        hidden = _zoom(axes, result)
        axes.set_xlabel(AXIS_LABELS[result.objective])
        axes.set_ylabel("Accuracy (%)")
        axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
        axes.legend(frameon=False, loc="lower right", title=f"{hidden} trials lie below" if hidden else None)
        temporary = path.with_name(f".{os.getpid()}.{path.name}")
        figure.savefig(temporary, dpi=200)
        temporary.replace(path)


def _zoom(axes: Axes, result: SearchResult) -> int:
    """Leave out the trials that learned next to nothing, far below all that matters; says how many."""
    accuracies = [trial.outcome.accuracy for trial in result.trials if trial.outcome.reason is None]
    shown = [t.outcome.accuracy for t in result.front] + [c.mean("accuracy") for c in result.confirmations]
    floor = min([*shown, statistics.median(accuracies)]) - 0.1
    axes.set_ylim(bottom=max(0, 100 * min(floor, 1)) if min(accuracies) < floor else None)
    return sum(accuracy < floor for accuracy in accuracies)


def _draw_trials(axes: Axes, result: SearchResult) -> None:
    good = [trial.outcome for trial in result.trials if trial.outcome.reason is None]
    cost = [outcome.totals[result.objective] for outcome in good]
    axes.scatter(cost, [100 * outcome.accuracy for outcome in good], s=10, c=TRIAL_COLOUR, label="trials (validation)")
    front = [(t.outcome.totals[result.objective], 100 * t.outcome.accuracy) for t in result.front]
    axes.step(*zip(*front, strict=True), where="post", color=TRIAL_COLOUR, linewidth=1, label="their front")


def _draw_confirmations(axes: Axes, result: SearchResult) -> None:
    for colour, marker, label, shown in (
        (FRONT_COLOUR, "o", "mixed, confirmed (test)", [c for c in result.confirmations if c.uniform is None]),
        (UNIFORM_COLOUR, "s", "uniform, confirmed (test)", [c for c in result.confirmations if c.uniform is not None]),
    ):
        if not shown:
            continue
        axes.errorbar(
            [c.mean(result.objective) for c in shown],
            [100 * c.mean("accuracy") for c in shown],
            xerr=[c.deviation(result.objective) for c in shown],
            yerr=[100 * c.deviation("accuracy") for c in shown],
            fmt=marker,
            color=colour,
            markersize=4,
            elinewidth=0.8,
            label=label,
        )
    for c in result.confirmations:
        if c.uniform is not None:
            at = (c.mean(result.objective), 100 * c.mean("accuracy"))
            axes.annotate(c.uniform, at, xytext=(4, 4), textcoords="offset points", fontsize=7)
