"""The figures of an analysis, each as the papers draw it where they do."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from quietspike.core.analyses import NETWORK, mean_similarity
from quietspike.search.analysis import Analysis
from quietspike.search.drawing import bare, name_places, new_figure, scale, share_of, short, some
from quietspike.search.plot import FRONT_COLOUR, TRIAL_COLOUR, UNIFORM_COLOUR
from quietspike.search.potential_figure import draw_potentials

RATES = "turbo"
"""Blue for none, red for many, as in MA-SNN's figures."""


def draw_spike_maps(analysis: Analysis) -> Figure:
    """Input and layers as columns, the mean and some samples as rows; each column has its own scale."""
    maps = analysis.maps
    rows = {f"mean of {analysis.responses.samples}": maps.means}
    rows |= {f"sample {index}": own for index, own in maps.of_sample.items()}
    spatial = [layer for layer in maps.means if layer != "input"]
    layers = ["input", *some(spatial)]
    what = (
        f"Mean spike maps{share_of(len(layers) - 1, len(spatial))}: share of a position's steps and channels that spike"
    )
    figure = new_figure(1.5 * len(layers) + 0.6, 1.55 * len(rows) + 0.9, analysis, f"{what} (input: that have events)")
    grid = figure.subplots(len(rows), len(layers), squeeze=False)
    for column, layer in enumerate(layers):
        highest = max(float(own[layer].max()) for own in rows.values())
        for row, (name, own) in enumerate(rows.items()):
            axes: Axes = grid[row, column]
            image = axes.imshow(own[layer].numpy(), cmap=RATES, vmin=0, vmax=highest or 1)
            bare(axes)
            axes.set_xlabel(f"max {float(own[layer].max()):.2g}" if highest else "silent", fontsize=7, labelpad=2)
            if row == 0:
                axes.set_title(short(layer), fontsize=8)
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
        bar = figure.colorbar(image, ax=grid[:, column].tolist(), location="bottom", shrink=0.85, aspect=14, pad=0.02)
        bar.ax.tick_params(labelsize=6)
        bar.locator = MaxNLocator(3)
        bar.update_ticks()
        bar.ax.set_visible(highest > 0)  # it keeps its place, so that all columns are alike
    return figure


def draw_responses(analysis: Analysis) -> Figure:
    """The firing rate of every neuron of one layer, its channels side by side, at some steps and over all."""
    responses, layer = analysis.responses, analysis.layer
    shown: list[int | None] = [*analysis.steps, None]
    spatial = responses.rate(layer).dim() > 1
    kind = "channels" if spatial else "neurons"
    what = f"Average spiking response of each neuron of {short(layer)}{', a tile a channel' if spatial else ''}"
    figure = new_figure(2.3 * len(shown) + 0.6, 3.1, analysis, what)
    rates = {step: _mosaic(responses.rate(layer, step)) for step in shown}
    highest = max(float(tiles.nan_to_num(0).max()) for tiles in rates.values())
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, step in zip(grid, shown, strict=True):
        image = axes.imshow(rates[step].numpy(), cmap=RATES, vmin=0, vmax=highest or 1, interpolation="nearest")
        bare(axes)
        silent = responses.silent(layer, step)
        axes.set_title("all steps" if step is None else f"t = {step + 1}", fontsize=8)
        axes.set_xlabel(f"{int(silent.sum())} of {len(silent)} {kind} never fire", fontsize=7)
    if highest:
        figure.colorbar(image, ax=grid.tolist(), shrink=0.8, label="spikes a sample and step")
    return figure


def draw_activity(analysis: Analysis) -> Figure:
    """NSAR over t with one deviation over samples, for the network and by layer."""
    there = [layer for layer in analysis.activity if layer != NETWORK]
    layers = some(there)
    what = f"Share of neurons that spike (NSAR){share_of(len(layers), len(there))}"
    figure = new_figure(8.2, 3.0, analysis, what)
    whole, parts = figure.subplots(1, 2)
    network = analysis.activity[NETWORK]
    steps = range(1, len(network.mean) + 1)
    deviation = network.variance.sqrt()
    low, high = (network.mean - deviation).clamp(min=0), network.mean + deviation
    whole.fill_between(steps, low.numpy(), high.numpy(), color=FRONT_COLOUR, alpha=0.2, label="± deviation of samples")
    whole.plot(steps, network.mean.numpy(), color=FRONT_COLOUR, marker="o", markersize=3, label="NSAR(t)")
    average = f"NASAR {network.average:.3g}"
    whole.axhline(network.average, color=TRIAL_COLOUR, linestyle="--", linewidth=0.8, label=average)
    for layer in layers:
        rates = analysis.activity[layer].mean.numpy()
        parts.plot(steps, rates, marker="o", markersize=3, clip_on=False, label=short(layer))
    for axes, title, name in ((whole, "network", "NSAR(t)"), (parts, "by layer", "LSAR(t)")):
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("t")
        axes.set_ylabel(f"{name}: spikes / neurons", fontsize=8)
        axes.set_ylim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    whole.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize=7)
    parts.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)
    return figure


def draw_similarity(analysis: Analysis) -> Figure:
    """Cosines between steps above, between channels below."""
    layers = some(list(analysis.step_similarity))
    what = f"Similarity of spikes{share_of(len(layers), len(analysis.step_similarity))}"
    figure = new_figure(1.55 * len(layers) + 1.0, 3.9, analysis, what)
    grid = figure.subplots(2, len(layers), squeeze=False)
    for row, (matrices, name) in enumerate(
        ((analysis.step_similarity, "between steps"), (analysis.channel_similarity, "between channels"))
    ):
        for axes, layer in zip(grid[row], layers, strict=True):
            matrix = matrices.get(layer)
            if matrix is None:
                axes.set_axis_off()
                continue
            image = axes.imshow(matrix.numpy(), cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
            bare(axes)
            axes.set_facecolor("0.9")
            mean = mean_similarity(matrix)
            axes.set_xlabel("no pair" if math.isnan(mean) else f"mean {mean:.2f}", fontsize=7)
            axes.set_title(short(layer) if row == 0 else "", fontsize=8)
        grid[row, 0].set_ylabel(name, fontsize=8)
    figure.colorbar(image, ax=grid.flatten().tolist(), shrink=0.7, label="cosine (grey: no spikes)")
    return figure


def draw_noise(analysis: Analysis) -> Figure | None:
    """The share of spikes in the background beside the background's share of the positions."""
    if not analysis.noise:
        return None
    rows = {layer: analysis.noise[layer] for layer in some(list(analysis.noise))}
    what = f"Noise spikes: where the input has few events{share_of(len(rows), len(analysis.noise))}"
    figure = new_figure(0.75 * len(rows) + 1.6, 3.1, analysis, what)
    axes = figure.subplots()
    places = range(1, len(rows) + 1)
    axes.bar(places, [row.share for row in rows.values()], 0.55, color=FRONT_COLOUR, label="of the spikes")
    left, right = [place - 0.4 for place in places], [place + 0.4 for place in places]
    backgrounds = [row.background for row in rows.values()]
    axes.hlines(backgrounds, left, right, color=UNIFORM_COLOUR, label="of the positions")
    for place, row in zip(places, rows.values(), strict=True):
        axes.text(place, 0.02, "silent" if math.isnan(row.share) else "", ha="center", fontsize=7)
    name_places(axes, [short(layer) for layer in rows])
    axes.set_ylabel("share in the background", fontsize=8)
    axes.set_ylim(0, 1)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def draw_isometry(analysis: Analysis) -> Figure | None:
    """φ and ϕ of each block; both lines say where isometry is."""
    if not analysis.isometry:
        return None
    rows = analysis.isometry
    figure = new_figure(7.2, 3.1, analysis, f"Block dynamical isometry, estimated on {rows[0].samples} samples")
    mean, variance = figure.subplots(1, 2)
    places = range(1, len(rows) + 1)
    mean.axhline(1, color=TRIAL_COLOUR, linestyle="--", linewidth=0.8)
    variance.axhline(0, color=TRIAL_COLOUR, linestyle="--", linewidth=0.8)
    values = [row.mean for row in rows]
    mean.errorbar(
        places, values, yerr=[row.error for row in rows], fmt="o-", capsize=2, color=FRONT_COLOUR, markersize=4
    )
    variance.plot(places, [row.variance for row in rows], "s-", color=UNIFORM_COLOUR, markersize=4)
    scale(mean, values)
    variance.set_yscale("symlog", linthresh=0.1)
    variance.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)
    for axes, symbol, title in (
        (mean, "φ(JJᵀ)", "isometry at 1; bars: standard error"),
        (variance, "ϕ(JJᵀ)", "isometry at 0; an estimate may lie below"),
    ):
        axes.set_title(title, fontsize=8)
        axes.set_ylabel(symbol, fontsize=8)
        name_places(axes, [row.block for row in rows])
    return figure


def draw_gradients(analysis: Analysis) -> Figure | None:
    """Norms of the loss's gradient by each block's inputs and parameters."""
    if not analysis.gradients:
        return None
    rows = analysis.gradients
    figure = new_figure(5.0, 3.3, analysis, "Gradient of the loss by depth")
    axes = figure.subplots()
    places = range(1, len(rows) + 1)
    inputs, parameters = [row.inputs for row in rows], [row.parameters for row in rows]
    axes.plot(places, inputs, "o-", color=FRONT_COLOUR, markersize=4, label="by the block's input, a sample")
    axes.plot(places, parameters, "s-", color=UNIFORM_COLOUR, markersize=4, label="by its parameters, the mean loss")
    scale(axes, [*inputs, *parameters])
    axes.set_ylabel("norm", fontsize=8)
    name_places(axes, [row.block for row in rows])
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
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
