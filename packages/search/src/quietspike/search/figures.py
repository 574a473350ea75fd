"""The figures of an analysis, each as the papers draw it where they do."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from quietspike.core.analyses import NETWORK, Distribution, mean_similarity
from quietspike.search.analysis import Analysis
from quietspike.search.plot import FRONT_COLOUR, TRIAL_COLOUR, UNIFORM_COLOUR

MOST = 8
"""Layers in one figure; of a deeper network, so many evenly spaced. The tables have all."""

RATES = "turbo"
"""Blue for none, red for many, as in MA-SNN's figures."""

T = TypeVar("T")


def draw_spike_maps(analysis: Analysis) -> Figure:
    """Input and layers as columns, the mean and some samples as rows; each column has its own scale."""
    maps = analysis.maps
    rows = {f"mean of {analysis.responses.samples}": maps.means}
    rows |= {f"sample {index}": own for index, own in maps.of_sample.items()}
    layers = ["input", *_some([layer for layer in maps.means if layer != "input"])]
    figure = _figure(1.5 * len(layers) + 0.6, 1.35 * len(rows) + 1.0, analysis, "mean spike maps")
    grid = figure.subplots(len(rows), len(layers), squeeze=False)
    for column, layer in enumerate(layers):
        highest = max(float(own[layer].max()) for own in rows.values()) or 1.0
        for row, (name, own) in enumerate(rows.items()):
            axes: Axes = grid[row, column]
            image = axes.imshow(own[layer].numpy(), cmap=RATES, vmin=0, vmax=highest)
            _bare(axes)
            axes.set_xlabel(f"max {float(own[layer].max()):.2f}", fontsize=7, labelpad=2)
            if row == 0:
                axes.set_title(_short(layer), fontsize=8)
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
        bar = figure.colorbar(image, ax=grid[:, column].tolist(), location="bottom", shrink=0.85, aspect=14)
        bar.ax.tick_params(labelsize=6)
        bar.locator = MaxNLocator(3)
        bar.update_ticks()
    return figure


def draw_responses(analysis: Analysis) -> Figure:
    """The firing rate of every neuron of one layer, its channels side by side, at some steps and over all."""
    responses, layer = analysis.responses, analysis.layer
    shown: list[int | None] = [*analysis.steps, None]
    figure = _figure(2.3 * len(shown) + 0.6, 3.1, analysis, f"spiking response of each neuron of {layer}")
    rates = {step: _mosaic(responses.rate(layer, step)) for step in shown}
    highest = max(float(tiles.nan_to_num(0).max()) for tiles in rates.values()) or 1.0
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, step in zip(grid, shown, strict=True):
        image = axes.imshow(rates[step].numpy(), cmap=RATES, vmin=0, vmax=highest, interpolation="nearest")
        _bare(axes)
        silent = responses.silent(layer, step)
        axes.set_title("all steps" if step is None else f"t = {step + 1}", fontsize=8)
        axes.set_xlabel(f"{int(silent.sum())} of {len(silent)} channels never fire", fontsize=7)
    figure.colorbar(image, ax=grid.tolist(), shrink=0.8, label="share of samples")
    return figure


def draw_activity(analysis: Analysis) -> Figure:
    """NSAR over t with one deviation over samples, for the network and by layer."""
    figure = _figure(7.2, 3.0, analysis, "share of neurons that spike")
    whole, parts = figure.subplots(1, 2)
    network = analysis.activity[NETWORK]
    steps = range(1, len(network.mean) + 1)
    deviation = network.variance.sqrt()
    low, high = (network.mean - deviation).clamp(min=0), network.mean + deviation
    whole.fill_between(steps, low.numpy(), high.numpy(), color=FRONT_COLOUR, alpha=0.2, label="± deviation of samples")
    whole.plot(steps, network.mean.numpy(), color=FRONT_COLOUR, marker="o", markersize=3, label="NSAR(t)")
    average = f"NASAR {network.average:.3f}"
    whole.axhline(network.average, color=TRIAL_COLOUR, linestyle="--", linewidth=0.8, label=average)
    for layer in _some([layer for layer in analysis.activity if layer != NETWORK]):
        parts.plot(steps, analysis.activity[layer].mean.numpy(), marker="o", markersize=3, label=_short(layer))
    for axes, title in ((whole, "network"), (parts, "by layer")):
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("t")
        axes.set_ylim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.legend(frameon=False, fontsize=7)
    return figure


def draw_potentials(analysis: Analysis) -> Figure | None:
    """Densities on a logarithmic axis: what attention is given and gives, and the potential that fires."""
    if not analysis.potentials:
        return None
    layers = _some(list(dict.fromkeys(shown.layer for shown in analysis.potentials)))
    columns = min(len(layers), 3)
    rows = math.ceil(len(layers) / columns)
    figure = _figure(2.7 * columns, 2.2 * rows + 0.9, analysis, "distributions before and after attention")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, layer in zip(grid, layers, strict=False):
        for shown in (shown for shown in analysis.potentials if shown.layer == layer and shown.signal != "input"):
            colour, line = LINES.get((shown.signal, shown.when), (TRIAL_COLOUR, ":"))
            centres, density = _coarse(shown)
            axes.plot(centres, density, color=colour, linestyle=line, linewidth=1.2, label=_kind(shown))
            if shown.threshold is not None:
                axes.axvline(shown.threshold, color="black", linestyle=":", linewidth=0.9, label="threshold")
        axes.set_yscale("log")
        axes.set_title(layer, fontsize=8)
    for axes in grid[::columns]:
        axes.set_ylabel("density", fontsize=8)
    for axes in grid[len(layers) :]:
        axes.set_axis_off()
    labels = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def draw_similarity(analysis: Analysis) -> Figure:
    """Cosines between steps above, between channels below."""
    layers = _some(list(analysis.step_similarity))
    figure = _figure(1.55 * len(layers) + 1.0, 3.9, analysis, "similarity of spikes")
    grid = figure.subplots(2, len(layers), squeeze=False)
    for row, (matrices, name) in enumerate(
        ((analysis.step_similarity, "steps"), (analysis.channel_similarity, "channels"))
    ):
        for axes, layer in zip(grid[row], layers, strict=True):
            matrix = matrices.get(layer)
            if matrix is None:
                axes.set_axis_off()
                continue
            image = axes.imshow(matrix.numpy(), cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            _bare(axes)
            axes.set_facecolor("0.9")
            mean = mean_similarity(matrix)
            axes.set_xlabel("no pair" if math.isnan(mean) else f"mean {mean:.2f}", fontsize=7)
            axes.set_title(_short(layer) if row == 0 else "", fontsize=8)
        grid[row, 0].set_ylabel(name, fontsize=8)
    figure.colorbar(image, ax=grid.flatten().tolist(), shrink=0.7, label="cosine (grey: no spikes)")
    return figure


def draw_noise(analysis: Analysis) -> Figure | None:
    """The share of spikes in the background beside the background's share of the positions."""
    if not analysis.noise:
        return None
    rows = {layer: analysis.noise[layer] for layer in _some(list(analysis.noise))}
    figure = _figure(max(3.6, 0.9 * len(rows) + 1.6), 2.8, analysis, "spikes where the input has few events")
    axes = figure.subplots()
    places = range(len(rows))
    axes.bar(places, [row.share for row in rows.values()], 0.55, color=FRONT_COLOUR, label="noise-spike share")
    backgrounds = [row.background for row in rows.values()]
    left, right = [place - 0.4 for place in places], [place + 0.4 for place in places]
    axes.hlines(backgrounds, left, right, color=UNIFORM_COLOUR, label="background's share of positions")
    axes.set_xticks(places, [_short(layer) for layer in rows])
    axes.set_ylim(0, 1)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def draw_isometry(analysis: Analysis) -> Figure | None:
    """φ and ϕ of each block; both lines say where isometry is."""
    if not analysis.isometry:
        return None
    rows = analysis.isometry
    figure = _figure(7.2, 2.9, analysis, "block dynamical isometry")
    mean, variance = figure.subplots(1, 2)
    places = range(1, len(rows) + 1)
    mean.axhline(1, color=TRIAL_COLOUR, linestyle="--", linewidth=0.8)
    variance.axhline(0, color=TRIAL_COLOUR, linestyle="--", linewidth=0.8)
    values = [row.mean for row in rows]
    mean.errorbar(places, values, yerr=[row.error for row in rows], fmt="o-", color=FRONT_COLOUR, markersize=4)
    variance.plot(places, [row.variance for row in rows], "s-", color=UNIFORM_COLOUR, markersize=4)
    if min(values) > 0:
        mean.set_yscale("log")
    variance.set_yscale("symlog", linthresh=0.1)
    for axes, title in ((mean, "φ(JJᵀ), isometry at 1"), (variance, "ϕ(JJᵀ), isometry at 0")):
        axes.set_title(title, fontsize=8)
        _depth(axes, [row.block for row in rows])
    return figure


def draw_gradients(analysis: Analysis) -> Figure | None:
    """Norms of the loss's gradient by each block's inputs and parameters."""
    if not analysis.gradients:
        return None
    rows = analysis.gradients
    figure = _figure(5.0, 2.9, analysis, "gradient norm by depth")
    axes = figure.subplots()
    places = range(1, len(rows) + 1)
    inputs, parameters = [row.inputs for row in rows], [row.parameters for row in rows]
    axes.plot(places, inputs, "o-", color=FRONT_COLOUR, markersize=4, label="by the block's input, a sample")
    axes.plot(places, parameters, "s-", color=UNIFORM_COLOUR, markersize=4, label="by its parameters, the mean loss")
    if min([*inputs, *parameters]) > 0:
        axes.set_yscale("log")
    _depth(axes, [row.block for row in rows])
    axes.legend(frameon=False, fontsize=7)
    return figure


FIGURES: dict[str, Callable[[Analysis], Figure | None]] = {
    "spike_maps": draw_spike_maps,
    "asrv": draw_responses,
    "nsar": draw_activity,
    "potentials": draw_potentials,
    "similarity": draw_similarity,
    "noise": draw_noise,
    "isometry": draw_isometry,
    "gradients": draw_gradients,
}
"""What is drawn, by the file's name; ``None`` where there is nothing to draw."""

LINES = {
    ("current", "before"): (TRIAL_COLOUR, "-"),
    ("current", "after"): (FRONT_COLOUR, "-"),
    ("membrane", "before"): (UNIFORM_COLOUR, "--"),
    ("membrane", "after"): ("black", "-"),
}


def _kind(shown: Distribution) -> str:
    name = "potential U" if shown.signal == "membrane" else "current X"
    return f"{name}, after attention" if shown.when == "after" else name


def _coarse(shown: Distribution, share: float = 0.999, bins: int = 60) -> tuple[list[float], list[float]]:
    """Centres and densities over the middle ``share`` of the values, in at most some 60 bins."""
    counts = shown.histogram.counts.double()
    reached = counts.cumsum(0) / counts.sum()
    first = int((reached >= (1 - share) / 2).nonzero()[0])
    last = int((reached >= (1 + share) / 2).nonzero()[0])
    width = max(1, (last - first + 1) // bins)
    parts = list(torch.split(counts[first : last + 1], width))
    edges, each = shown.histogram.edges, shown.histogram.width
    lefts = [float(edges[first + index * width]) for index in range(len(parts))]
    centres = [left + len(part) * each / 2 for left, part in zip(lefts, parts, strict=True)]
    density = [float(part.sum()) / (float(counts.sum()) * each * len(part)) for part in parts]
    return centres, [value if value > 0 else math.nan for value in density]


def _mosaic(rates: Tensor) -> Tensor:
    """Channels [C, H, W] as one image, a line between them; features [F] as a square of points."""
    tiles = rates if rates.dim() == 3 else rates[:, None, None]
    columns = math.ceil(math.sqrt(len(tiles)))
    gap = 1 if tiles.shape[-1] > 1 else 0
    height, width = tiles.shape[1] + gap, tiles.shape[2] + gap
    image = torch.full((math.ceil(len(tiles) / columns) * height, columns * width), math.nan)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * height, column * width
        image[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return image


def _figure(width: float, height: float, analysis: Analysis, what: str) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    placement = textwrap.wrap(analysis.title, max(30, int(15 * width)))
    figure.suptitle("\n".join([what.capitalize(), *placement]), fontsize=8)
    return figure


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _depth(axes: Axes, blocks: Sequence[str]) -> None:
    shown: list[Any] = _some(list(enumerate(blocks, 1)))
    axes.set_xticks([place for place, _ in shown], [name for _, name in shown], rotation=30, ha="right")
    axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)


def _short(layer: str) -> str:
    return layer.removesuffix(".neuron")


def _some(items: list[T]) -> list[T]:
    """At most so many, evenly spaced, the first and the last among them."""
    if len(items) <= MOST:
        return items
    return [items[round(index * (len(items) - 1) / (MOST - 1))] for index in range(MOST)]
