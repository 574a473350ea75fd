"""What a comparison of methods says: curves as CSV and figure, and a table of the budgets."""

from __future__ import annotations

import csv
import io
import lzma
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from quietspike.core.weights import write_whole
from quietspike.search.comparing import EARLY, Comparison
from quietspike.search.plot import house_style, write_figure

SHARES = (0.9, 0.95, 0.99)
"""Of the whole hypervolume, whose budgets are shown."""

TENTH = 0.1
"""Of exhausting the space, by which what has not been found is shown."""

QUANTILES = (0.1, 0.5, 0.9)
"""Over searches."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by the colour-blind too (Okabe & Ito)."""

LOWEST = 0.7
"""Share of the hypervolume at which the figure begins."""


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write ``curves.csv.xz``, ``curves.svg``, ``curves.png`` and ``budgets.md``; equal in, equal out."""
    write_whole(folder / "curves.csv.xz", lzma.compress(_curves_csv(comparison).encode()))
    for suffix in ("svg", "png"):
        _draw(comparison, folder / f"curves.{suffix}")
    write_whole(folder / "budgets.md", budget_table(comparison).encode())


def budget_table(comparison: Comparison) -> str:
    """Markdown: what share of the epochs of exhausting each method took, and what it had not found at its end."""
    truth = comparison.truth
    heads = ["method", "searches", *(f"{share:.0%} of hypervolume" for share in SHARES), "reached 99%"]
    heads += [f"regret at {TENTH:.0%}", "final regret"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name in sorted(comparison.runs, key=lambda name: _order(comparison, name)):
        budgets = [comparison.budgets(name, share) / truth.exhausting for share in SHARES]
        reached = int(np.isfinite(budgets[-1]).sum())
        count = len(comparison.runs[name])
        regrets = [comparison.regrets(name, budget) for budget in (TENTH * truth.exhausting, math.inf)]
        cells = [name, str(count), *map(_spread, budgets), f"{reached} of {count}", *map(_spread, regrets)]
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        "Median (10–90 % of the searches); budgets as shares of the epochs that training everything takes, "
        f"{truth.exhausting:,}; regret is the share of the hypervolume that was not found."
    )
    return "\n".join([*lines, "", note, ""])


def _order(comparison: Comparison, name: str) -> tuple[float, str]:
    """The soonest at 99 % first; those that are never there by their regret."""
    median = float(_quantiles(comparison.budgets(name, SHARES[-1]))[1])
    regret = float(np.median(comparison.regrets(name, math.inf)))
    return (median if math.isfinite(median) else 1e12 * (1 + regret), name)


def _quantiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of values that may be infinite: the next greater value, not one between."""
    quantiles: NDArray[np.float64] = np.quantile(values, QUANTILES, axis=0, method="inverted_cdf")
    return quantiles


def _spread(values: NDArray[np.float64]) -> str:
    """Median and range.

    >>> _spread(np.array([0.01, 0.02, math.inf]))
    '2.0 % (1.0 % – never)'
    """
    low, middle, high = (f"{100 * value:.1f} %" if math.isfinite(value) else "never" for value in _quantiles(values))
    return f"{middle} ({low} – {high})"


def _curves_csv(comparison: Comparison) -> str:
    """A line a method and budget: quantiles of the share that was found."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "epochs", "budget", *(f"q{round(100 * quantile)}" for quantile in QUANTILES)])
    for name, epochs, found in _curves(comparison):
        columns = zip(epochs, *found, strict=True)
        writer.writerows(
            [name, int(spent), f"{spent / comparison.truth.exhausting:.5f}", *(f"{value:.6f}" for value in values)]
            for spent, *values in columns
        )
    return text.getvalue()


def _curves(comparison: Comparison) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Method, budgets in epochs, and quantiles of the share that was found by then."""
    last = max(point.spent for runs in comparison.runs.values() for points in runs for point in points)
    epochs = np.unique(np.geomspace(comparison.truth.epochs, last, 200).astype(int)).astype(float)
    for name in comparison.runs:
        yield name, epochs, _quantiles(comparison.shares(name, list(epochs)))


def _draw(comparison: Comparison, path: Path) -> None:
    """Two panels, without and with early stopping; methods without a counterpart stand in the first."""
    curves = list(_curves(comparison))
    kinds = list(dict.fromkeys(name.removesuffix(EARLY) for name, *_ in curves))
    with house_style():
        figure = Figure(figsize=(9.0, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        for name, epochs, (low, middle, high) in curves:
            axes = panels[int(name.endswith(EARLY))]
            colour = COLOURS[kinds.index(name.removesuffix(EARLY)) % len(COLOURS)]
            budgets = epochs / comparison.truth.exhausting
            axes.fill_between(budgets, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(budgets, middle, color=colour, linewidth=1.4, label=name.removesuffix(EARLY))
        for axes, title in zip(panels, ("every trial trained to the end", "with early stopping"), strict=True):
            axes.set_title(title, fontsize=9)
            axes.set_xscale("log")
            axes.set_ylim(LOWEST, 1.005)
            axes.set_xlim(*(epochs[[0, -1]] / comparison.truth.exhausting))
            axes.set_xlabel("Epochs trained, share of exhausting the space")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
            axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
            for share in SHARES:
                axes.axhline(share, color="#9a9a9a", linewidth=0.6, linestyle=":")
        panels[0].set_ylabel("Share of the hypervolume found")
        panels[0].legend(loc="lower right", fontsize=8, frameon=False)
        write_figure(figure, path)
