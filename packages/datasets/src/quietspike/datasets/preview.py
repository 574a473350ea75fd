"""A picture of a sample that a person can look at: its frames in a strip, and its events over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from quietspike.datasets.clips import Span
from quietspike.datasets.events import Events
from quietspike.datasets.framed import Sample

_OFF, _ON = np.array([0.13, 0.40, 0.67]), np.array([0.80, 0.20, 0.15])
_MOST_FRAMES = 12
_BINS = 200


def draw_sample(sample: Sample, title: str) -> Figure:
    """Up to twelve frames, evenly spaced, above the rate of events, on white where the frames show them.

    Args:
        sample: of events, whose rate is drawn in thousand events a second, or without, of which events a frame are.
        title: over all.
    """
    frames, steps = sample.frames, len(sample.frames)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, _MOST_FRAMES)).round().astype(int))
    is_image = frames.shape[1] != 2
    figure = Figure(figsize=(1.5 * max(len(shown), 4), 2.2 if is_image else 4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.add_gridspec(1 if is_image else 2, len(shown), height_ratios=(1,) if is_image else (1.2, 1))
    most = float(np.percentile(frames[frames > 0], 99)) if (frames > 0).any() else 1.0
    for column, step in enumerate(shown):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(_picture(frames[step], most))
        axes.set_title(f"step {step}", fontsize=8)
        axes.set_axis_off()
    if is_image:
        return figure
    axes = figure.add_subplot(grid[1, :])
    if sample.events is not None and len(sample.events):
        _draw_rate(axes, sample.events, sample.span)
    else:
        for channel, (name, colour) in enumerate((("OFF", _OFF), ("ON", _ON))):
            axes.step(np.arange(steps), frames[:, channel].sum((1, 2)), where="mid", color=colour, label=name)
        axes.set(xlabel="step", ylabel="events")
        axes.legend(frameon=False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix tells how.

    Raises:
        OSError: if it cannot be written.
        ValueError: for a suffix that is none of a picture.
    """
    figure.savefig(path, dpi=120)


def _picture(frame: npt.NDArray[Any], most: float) -> npt.NDArray[Any]:
    """[H, W, 3]: OFF in blue and ON in red on white, or the image itself."""
    if len(frame) != 2:
        low, high = float(frame.min()), float(frame.max())
        image: npt.NDArray[Any] = (frame.transpose(1, 2, 0) - low) / max(high - low, 1e-12)
        return image
    off, on = np.minimum(frame / most, 1)[..., None]
    mixed: npt.NDArray[Any] = np.clip(1 - off * (1 - _OFF) - on * (1 - _ON), 0, 1)
    return mixed


def _draw_rate(axes: Any, events: Events, span: Span | None) -> None:
    first, last = int(events["t"].min()), int(events["t"].max())
    t = (events["t"] - first) / 1e3
    edges = np.linspace(0, max((last - first) / 1e3, 1e-3), _BINS + 1)
    for value, name, colour in ((0, "OFF", _OFF), (1, "ON", _ON)):
        counts, _ = np.histogram(t[(events["p"] > 0) == value], edges)
        axes.stairs(counts / (edges[1] - edges[0]), edges, color=colour, label=name)
    axes.set(xlabel="time (ms)", ylabel="thousand events / s", xlim=(0, edges[-1]))
    if span is not None:  # what the frames leave out is grey
        start, end = ((time - first) / 1e3 for time in span)
        for left, right in ((0, start), (end, edges[-1])):
            if left < right:
                axes.axvspan(left, right, color="0.9", zorder=0)
    axes.legend(frameon=False)
