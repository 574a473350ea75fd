"""The distributions of potentials, on which neurons fire, and what attention makes of them."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from quietspike.core.analyses import Distribution
from quietspike.search.analysis import Analysis
from quietspike.search.drawing import MOST, new_figure, share_of, some
from quietspike.search.plot import FRONT_COLOUR, TRIAL_COLOUR, UNIFORM_COLOUR

NAMES = {"current": "current X", "membrane": "potential U"}

LINES = {
    ("current", "before"): (TRIAL_COLOUR, "-"),
    ("current", "after"): (FRONT_COLOUR, "-"),
    ("membrane", "before"): (UNIFORM_COLOUR, "--"),
    ("membrane", "after"): ("black", "-"),
}


def draw_potentials(analysis: Analysis) -> Figure | None:
    """Densities on a logarithmic axis: what attention is given and gives, and the potential that fires."""
    shown = [one for one in analysis.potentials if one.signal != "input"]
    if not shown:
        return None
    everywhere = list(dict.fromkeys(one.layer for one in shown))
    layers = _choose(everywhere, {one.layer for one in shown if one.when == "after"})
    columns = min(len(layers), 3)
    rows = math.ceil(len(layers) / columns)
    sides = " before and after attention" if any(one.when == "after" for one in shown) else ""
    what = f"Distributions of currents and potentials{sides}{share_of(len(layers), len(everywhere))}"
    figure = new_figure(2.7 * columns, 2.1 * rows + 1.1, analysis, what)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, layer in zip(grid, layers, strict=False):
        for one in (one for one in shown if one.layer == layer):
            colour, line = LINES.get((one.signal, one.when), ("black", ":"))
            axes.stairs(*_coarse(one), color=colour, linestyle=line, linewidth=1.2, label=_kind(one))
            if one.threshold is not None:
                axes.axvline(one.threshold, color="black", linestyle=":", linewidth=0.9, label="threshold")
        axes.set_yscale("log")
        axes.set_title(layer, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(which="both", labelsize=7)
    for axes in grid[::columns]:
        axes.set_ylabel("density", fontsize=8)
    for axes in grid[len(layers) :]:
        axes.set_axis_off()
    for axes in grid[max(len(layers) - columns, 0) : len(layers)]:
        axes.set_xlabel("X, U", fontsize=8)
    labels = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        labels.values(), labels.keys(), loc="outside lower center", ncols=2 * columns, frameon=False, fontsize=7
    )
    return figure


def _choose(layers: list[str], attended: set[str]) -> list[str]:
    """Some layers in their order, those with attention first of all."""
    wanted = some([layer for layer in layers if layer in attended])
    others = [layer for layer in layers if layer not in attended]
    wanted += some(others, MOST - len(wanted))
    return [layer for layer in layers if layer in wanted]


def _kind(one: Distribution) -> str:
    name = NAMES.get(one.signal, one.signal)
    return f"{name}, after attention" if one.when == "after" else name


def _coarse(one: Distribution, share: float = 0.999, bins: int = 60) -> tuple[list[float], list[float]]:
    """Densities over the middle ``share`` of the values in some 60 bins at most, nan where there is none; edges."""
    counts = one.histogram.counts.double()
    reached = counts.cumsum(0) / counts.sum()
    first = int((reached >= (1 - share) / 2).nonzero()[0])
    last = int((reached >= (1 + share) / 2).nonzero()[0])
    width = max(1, (last - first + 1) // bins)
    parts = list(torch.split(counts[first : last + 1], width))
    ends = [first, *(min(first + index * width, last + 1) for index in range(1, len(parts) + 1))]
    each = one.histogram.width
    density = [float(part.sum()) / (float(counts.sum()) * each * len(part)) for part in parts]
    return [value if value > 0 else math.nan for value in density], [float(one.histogram.edges[end]) for end in ends]
