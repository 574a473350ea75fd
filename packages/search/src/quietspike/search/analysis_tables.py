"""The numbers of an analysis: rows for CSV files, and small tables to print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor

from quietspike.core.analyses import NETWORK, mean_similarity
from quietspike.search.analysis import Analysis

Rows = Iterator[dict[str, Any]]


def spike_map_rows(analysis: Analysis) -> Rows:
    """One a pixel; ``sample`` is ``mean`` or an index. ``input`` is the share of steps and channels with events."""
    for sample, maps in [("mean", analysis.maps.means), *analysis.maps.of_sample.items()]:
        for layer, values in maps.items():
            for row, line in enumerate(values.tolist()):
                for column, rate in enumerate(line):
                    yield {"sample": sample, "layer": layer, "row": row, "column": column, "rate": rate}


def channel_rows(analysis: Analysis) -> Rows:
    """ASRV by channel: one a layer, channel and step, and one for ``all`` steps."""
    responses = analysis.responses
    for layer in responses.layers:
        for step in (None, *range(responses.steps(layer))):
            rates = responses.rate(layer, step).unsqueeze(-1).flatten(1)
            figures = zip(rates.mean(1).tolist(), rates.amax(1).tolist(), responses.silent(layer, step), strict=True)
            for channel, (mean, highest, silent) in enumerate(figures):
                yield {
                    "layer": layer,
                    "step": "all" if step is None else step + 1,
                    "channel": channel,
                    "rate": mean,
                    "highest": highest,
                    "never_fires": bool(silent),
                }


def neuron_rows(analysis: Analysis) -> Rows:
    """ASRV by neuron, of the chosen layer at the chosen steps and over all; fully connected, it has no pixels."""
    for step in (*analysis.steps, None):
        for channel, rates in enumerate(analysis.responses.rate(analysis.layer, step)):
            for pixel, rate in zip(product(*map(range, rates.shape)), rates.flatten().tolist(), strict=True):
                yield {
                    "layer": analysis.layer,
                    "step": "all" if step is None else step + 1,
                    "channel": channel,
                    **dict(zip(("row", "column"), pixel, strict=False)),
                    "rate": rate,
                }


def activity_rows(analysis: Analysis) -> Rows:
    """NSAR(t) of the network and of each layer; ``all`` is the mean over the steps (NASAR, LASAR)."""
    for layer, row in analysis.activity.items():
        for step, (mean, variance) in enumerate(zip(row.mean.tolist(), row.variance.tolist(), strict=True), 1):
            yield {"layer": layer, "step": step, "mean": mean, "variance": variance}
        yield {"layer": layer, "step": "all", "mean": row.average, "variance": row.average_variance}


def potential_rows(analysis: Analysis) -> Rows:
    """One a bin that holds a value."""
    for shown in analysis.potentials:
        histogram = shown.histogram
        for index in histogram.counts.nonzero().flatten().tolist():
            yield {
                "layer": shown.layer,
                "name": shown.name,
                "signal": shown.signal,
                "attention": shown.when,
                "from": float(histogram.edges[index]),
                "to": float(histogram.edges[index + 1]),
                "count": int(histogram.counts[index]),
            }


def potential_summary_rows(analysis: Analysis) -> Rows:
    """One a distribution."""
    for shown in analysis.potentials:
        yield {
            "layer": shown.layer,
            "name": shown.name,
            "signal": shown.signal,
            "attention": shown.when,
            "values": shown.histogram.total,
            "mean": shown.histogram.mean,
            "deviation": shown.histogram.deviation,
            "threshold": "" if shown.threshold is None else shown.threshold,
            "firing": "" if shown.threshold is None else shown.firing,
        }


def step_similarity_rows(analysis: Analysis) -> Rows:
    """One a pair of steps; empty where no sample has spikes at both."""
    for layer, matrix in analysis.step_similarity.items():
        for first, second in zip(*torch.triu_indices(len(matrix), len(matrix), 1).tolist(), strict=True):
            value = float(matrix[first, second])
            yield {"layer": layer, "first": first + 1, "second": second + 1, "cosine": _known(value)}


def channel_similarity_rows(analysis: Analysis) -> Rows:
    """One a channel: its mean over the others, and the one that is most like it."""
    for layer, matrix in analysis.channel_similarity.items():
        others = matrix.clone().fill_diagonal_(math.nan)
        for channel, row in enumerate(others):
            known = row.nan_to_num(-1)
            nearest = int(known.argmax())
            if known[nearest] < 0:
                yield {"layer": layer, "channel": channel, "mean": "", "nearest": "", "cosine": ""}
                continue
            figures = {"mean": float(row.nanmean()), "nearest": nearest, "cosine": float(row[nearest])}
            yield {"layer": layer, "channel": channel, **figures}


def noise_rows(analysis: Analysis) -> Rows:
    """One a layer of more than one position."""
    for layer, row in analysis.noise.items():
        figures = {"noise_share": _known(row.share), "background": row.background, "noise_spikes": row.spikes}
        yield {"layer": layer, **figures}


def isometry_rows(analysis: Analysis) -> Rows:
    """One a block; the error of one sample is unknown."""
    for row in analysis.isometry:
        figures = {"phi": row.mean, "error": _known(row.error), "variance": row.variance, "samples": row.samples}
        yield {"block": row.block, **figures}


def gradient_rows(analysis: Analysis) -> Rows:
    """One a block."""
    for row in analysis.gradients:
        yield {"block": row.block, "inputs": row.inputs, "parameters": row.parameters}


class CsvTable(NamedTuple):
    """What is written as CSV.

    Args:
        rows: one by one.
        columns: all that a row may have.
    """

    rows: Callable[[Analysis], Rows]
    columns: tuple[str, ...]


TABLES = {
    "spike_maps": CsvTable(spike_map_rows, ("sample", "layer", "row", "column", "rate")),
    "asrv_channels": CsvTable(channel_rows, ("layer", "step", "channel", "rate", "highest", "never_fires")),
    "asrv_neurons": CsvTable(neuron_rows, ("layer", "step", "channel", "row", "column", "rate")),
    "nsar": CsvTable(activity_rows, ("layer", "step", "mean", "variance")),
    "potentials": CsvTable(potential_rows, ("layer", "name", "signal", "attention", "from", "to", "count")),
    "potentials_summary": CsvTable(
        potential_summary_rows,
        ("layer", "name", "signal", "attention", "values", "mean", "deviation", "threshold", "firing"),
    ),
    "similarity_steps": CsvTable(step_similarity_rows, ("layer", "first", "second", "cosine")),
    "similarity_channels": CsvTable(channel_similarity_rows, ("layer", "channel", "mean", "nearest", "cosine")),
    "noise": CsvTable(noise_rows, ("layer", "noise_share", "background", "noise_spikes")),
    "isometry": CsvTable(isometry_rows, ("block", "phi", "error", "variance", "samples")),
    "gradients": CsvTable(gradient_rows, ("block", "inputs", "parameters")),
}
"""By the file's name."""


def layer_table(analysis: Analysis) -> Table:
    """A row a neuron layer, and one for the network."""
    table = Table(title=analysis.title)
    table.add_column("layer")
    for column in ("spiking rate", "± samples", "never fire", "like steps", "like channels", "noise", "background"):
        table.add_column(column, justify="right")
    for layer, row in analysis.activity.items():
        if layer == NETWORK:
            continue
        silent: Tensor = analysis.responses.silent(layer)
        noise = analysis.noise.get(layer)
        channels = analysis.channel_similarity.get(layer)
        table.add_row(
            layer,
            f"{row.average:.4f}",
            f"{math.sqrt(row.average_variance):.4f}",
            f"{int(silent.sum())} of {len(silent)}",
            _text(mean_similarity(analysis.step_similarity[layer])),
            "" if channels is None else _text(mean_similarity(channels)),
            "" if noise is None else _text(noise.share),
            "" if noise is None else _text(noise.background),
        )
    table.add_section()
    network = analysis.activity[NETWORK]
    table.add_row(NETWORK, f"{network.average:.4f}", f"{math.sqrt(network.average_variance):.4f}")
    return table


def block_table(analysis: Analysis) -> Table:
    """A row a block; the standard error of one sample is unknown."""
    table = Table(title="Gradients by depth", caption="ϕ is an estimate: near 0 it may lie below")
    table.add_column("block")
    for column in ("φ(JJᵀ)", "ϕ(JJᵀ)", "gradient by inputs", "by parameters"):
        table.add_column(column, justify="right")
    norms = {row.block: row for row in analysis.gradients}
    for row in analysis.isometry:
        norm = norms[row.block]
        error = "" if math.isnan(row.error) else f" ± {row.error:.1g}"
        figures = (f"{row.mean:.3g}{error}", f"{row.variance:.3g}", f"{norm.inputs:.3g}")
        table.add_row(row.block, *figures, f"{norm.parameters:.3g}")
    return table


def _known(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
