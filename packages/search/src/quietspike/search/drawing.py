"""What the figures of an analysis have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quietspike.search.analysis import Analysis, evenly

MOST = 8
"""Layers in one figure; of a deeper network, so many evenly spaced. The tables have all."""

NARROWEST = 4.8
"""Inches of a figure that its title fits."""

T = TypeVar("T")


def new_figure(width: float, height: float, analysis: Analysis, what: str) -> Figure:
    """An empty figure under what it shows and the placement."""
    width = max(width, NARROWEST)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    placement = analysis.title.replace(" ", "\N{NO-BREAK SPACE}").replace("·\N{NO-BREAK SPACE}", "· ")
    lines = [line for text in (what, placement) for line in textwrap.wrap(text, int(15 * width))]
    figure.suptitle("\n".join(lines), fontsize=8)
    return figure


def some(items: Sequence[T], most: int = MOST) -> list[T]:
    """At most so many, evenly spaced."""
    return [items[index] for index in evenly(len(items), most)]


def share_of(shown: int, there: int) -> str:
    """For a title: how many layers are shown, where that is not all."""
    return "" if shown == there else f", {shown} of {there} layers"


def short(layer: str) -> str:
    """A neuron layer's name without what all have."""
    return layer.removesuffix(".neuron")


def bare(axes: Axes) -> None:
    """An image needs neither ticks nor a frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def name_places(axes: Axes, names: Sequence[str]) -> None:
    """The names of layers or blocks below the axis, from 1; of many, some."""
    places = evenly(len(names), MOST)
    axes.set_xticks([place + 1 for place in places], [names[place] for place in places], rotation=30, ha="right")
    axes.set_xticks(range(1, len(names) + 1), minor=True)
    axes.tick_params(labelsize=8)


def scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis that has a 0, for values that are not negative."""
    positive = [value for value in values if value > 0]
    axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)
    if not positive:
        axes.set_yticks([0])
    elif len(positive) < len(values):
        axes.set_yscale("symlog", linthresh=min(positive))
    else:
        axes.set_yscale("log")
