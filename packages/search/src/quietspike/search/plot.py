"""The Pareto plot: accuracy against spikes, trials and confirmed placements."""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from quietspike.core.weights import write_whole
from quietspike.search.results import Confirmation, SearchResult

AXIS_LABELS = {
    "spikes": "Spikes per sample",
    "energy": "Energy per sample (µJ)",
    "synaptic_operations": "Synaptic operations per sample",
    "parameters": "Parameters",
    "latency": "Latency of a sample (ms)",
}
FRONT_COLOUR, UNIFORM_COLOUR, TRIAL_COLOUR = "#0072b2", "#d55e00", "#9a9a9a"  # told apart by the colour-blind too
NEAR_OFFSETS = ((5, 4), (-5, 4), (5, -4), (-5, -4), (0, 7), (0, -7), (9, 0), (-9, 0))
LABEL_OFFSETS = NEAR_OFFSETS + tuple((far * x, far * y) for far in (2, 3) for x, y in NEAR_OFFSETS)
"""Points from a marker to its label, the preferred first."""


def house_style() -> AbstractContextManager[None]:
    """How our figures look, for a while."""
    return mpl.rc_context(
        {"font.size": 9, "svg.hashsalt": "quietspike", "axes.spines.right": False, "axes.spines.top": False}
    )


def plot_search(result: SearchResult, path: Path) -> None:
    """Write the plot; the file's ending decides its format. Equal results give equal files."""
    with house_style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        confirmed = [c for c in result.confirmations if c.outcomes]
        floor = _floor(result, confirmed)
        _draw_trials(axes, result, floor)
        _draw_confirmations(axes, result, confirmed)
        axes.set_ylim(100 * floor if floor > 0 else None, min(axes.get_ylim()[1], 101))
        axes.set_xlabel(AXIS_LABELS[result.objective])
        axes.set_ylabel("Accuracy (%)")
        _scale_costs(axes)
        axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8, columnspacing=1.2)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed where all else already stands
        _label_uniform(axes, result, confirmed)
        write_figure(figure, path)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the file's ending decides its format. Equal figures give equal files."""
    file, kind = io.BytesIO(), path.suffix.removeprefix(".")
    figure.savefig(file, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    write_whole(path, file.getvalue())


def _floor(result: SearchResult, confirmed: Sequence[Confirmation]) -> float:
    """The accuracy below which trials are left out: far below all that matters; 0 where none lies there."""
    accuracies = [trial.outcome.accuracy for trial in result.trials if trial.outcome.complete]
    if not accuracies:
        return 0.0
    shown = [t.outcome.accuracy for t in result.front] + [c.mean("accuracy") for c in confirmed]
    floor = min([*shown, statistics.median(accuracies)]) - 0.1
    return floor if min(accuracies) < floor else 0.0


def _draw_trials(axes: Axes, result: SearchResult, floor: float) -> None:
    good = [trial.outcome for trial in result.trials if trial.outcome.complete]
    if not good:
        return
    cost = [outcome.totals[result.objective] for outcome in good]
    hidden = sum(outcome.accuracy < floor for outcome in good)
    free = sum(outcome.totals[result.objective] == 0 and outcome.accuracy >= floor for outcome in good)
    label = _legend("trials", "validation", (hidden, "lie below"), (free, "cost 0"), (result.stopped, "stopped early"))
    axes.scatter(cost, [100 * outcome.accuracy for outcome in good], s=10, c=TRIAL_COLOUR, label=label)
    front = [(t.outcome.totals[result.objective], 100 * t.outcome.accuracy) for t in result.front]
    if len(result.goals.costs) == 1 and front:
        axes.step(*zip(*front, strict=True), where="post", color=TRIAL_COLOUR, linewidth=1, label="their front")
    elif front:  # seen from one side of several, it is no line
        others = ", ".join(cost.replace("_", " ") for cost in result.goals.costs[1:])
        label = f"their front (with {others})"
        costs, accuracies = zip(*front, strict=True)
        axes.scatter(costs, accuracies, s=30, c="none", edgecolors="black", linewidths=0.8, label=label)


def _draw_confirmations(axes: Axes, result: SearchResult, confirmed: Sequence[Confirmation]) -> None:
    for colour, marker, label, shown in (
        (FRONT_COLOUR, "o", "mixed", [c for c in confirmed if c.uniform is None]),
        (UNIFORM_COLOUR, "s", "uniform", [c for c in confirmed if c.uniform is not None]),
    ):
        if not shown:
            continue
        free = sum(c.mean(result.objective) == 0 for c in shown)
        axes.errorbar(
            [c.mean(result.objective) for c in shown],
            [100 * c.mean("accuracy") for c in shown],
            xerr=[c.deviation(result.objective) for c in shown],
            yerr=[100 * c.deviation("accuracy") for c in shown],
            fmt=marker,
            color=colour,
            markersize=4,
            elinewidth=0.8,
            label=_legend(label, "test", (free, "cost 0")),
        )


def _legend(name: str, split: str, *unseen: tuple[int, str]) -> str:
    """What is drawn, and how much of it cannot be seen: a logarithmic axis has no 0."""
    notes = [f"{count} {why}" for count, why in unseen if count]
    return f"{name} ({'; '.join([split, *notes])})"


def _scale_costs(axes: Axes) -> None:
    """A logarithmic axis with a handful of readable ticks, however many decades it covers."""
    if axes.xaxis.get_minpos() == float("inf"):  # no cost is above zero
        return
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    for mantissas in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = _within(LogLocator(subs=mantissas).tick_values(low, high), low, high)
        if len(ticks) >= 3:
            break
    else:
        ticks = _within(MaxNLocator(5).tick_values(low, high), low, high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,.10g}"))


def _within(ticks: Iterable[float], low: float, high: float) -> list[float]:
    return [tick for tick in ticks if low <= tick <= high]


def _label_uniform(axes: Axes, result: SearchResult, confirmed: Sequence[Confirmation]) -> None:
    """Name the uniform placements, each where its name covers least."""
    points = [(c.mean(result.objective), 100 * c.mean("accuracy")) for c in confirmed]
    good = [trial.outcome for trial in result.trials if trial.outcome.complete]
    dots = [(outcome.totals[result.objective], 100 * outcome.accuracy) for outcome in good]
    marks = [_around(axes, point, 7) for point in points] + [_around(axes, dot, 4) for dot in dots]
    names: list[Bbox] = []
    for confirmation, point in zip(confirmed, points, strict=True):
        if confirmation.uniform is None:
            continue
        label = axes.annotate(confirmation.uniform, point, (0, 0), textcoords="offset points", fontsize=7)
        scores = []
        for index, offset in enumerate(LABEL_OFFSETS):
            box = _put(label, offset)
            outside = sum(not axes.bbox.contains(*corner) for corner in box.corners())
            scores.append((outside + box.count_overlaps(names), box.count_overlaps(marks), index))
        names.append(_put(label, LABEL_OFFSETS[min(scores)[-1]]))


def _put(label: Annotation, offset: tuple[int, int]) -> Bbox:
    """Move a label so that it lies on that side of its point; gives what it covers."""
    x, y = offset
    label.set_position(offset)
    label.set_horizontalalignment("center" if x == 0 else "left" if x > 0 else "right")
    label.set_verticalalignment("center" if y == 0 else "bottom" if y > 0 else "top")
    return label.get_window_extent()


def _around(axes: Axes, point: tuple[float, float], size: float) -> Bbox:
    x, y = axes.transData.transform(point)
    return Bbox.from_bounds(x - size / 2, y - size / 2, size, size)
