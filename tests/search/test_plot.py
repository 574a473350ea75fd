import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from quietspike.search.plot import AXIS_LABELS, plot_search

FRONT_COLOUR = np.array([0x00, 0x72, 0xB2]) / 255
UNIFORM_COLOUR = np.array([0xD5, 0x5E, 0x00]) / 255


@pytest.fixture
def full(result, trial, confirmation):
    trials = [trial(n, 0.7 + 0.02 * n, 600 * 1.2**n) for n in range(10)] + [
        trial(10, reason="NaN"),
        trial(11, 0.1, 900),
    ]
    uniform = [confirmation(u, [0.8, 0.82, 0.9], [700, 800, 900]) for u in ("none", "ta", "ca", "sa", "tcsa")]
    return result(trials, [confirmation(None, [0.85, 0.87], [650, 700]), *uniform])


@pytest.fixture
def texts(tmp_path):
    """The words of a plot as SVG."""

    def draw(result):
        path = tmp_path / "texts.svg"
        plot_search(result, path)
        text = path.read_text()
        ElementTree.fromstring(text)
        return [part.split("-->")[0].strip() for part in text.split("<!--")[1:]]

    return draw


def pixels(result, folder):
    path = folder / "plot.png"
    plot_search(result, path)
    return imread(path)[..., :3]


def has_colour(image, colour):
    return bool((np.abs(image - colour).max(axis=-1) < 0.02).any())


def test_both_formats_are_written_and_nothing_else(full, tmp_path):
    folder = tmp_path / "plots"
    folder.mkdir()
    for suffix in ("png", "svg"):
        plot_search(full, folder / f"pareto.{suffix}")
    assert sorted(path.name for path in folder.iterdir()) == ["pareto.png", "pareto.svg"]
    image = imread(folder / "pareto.png")
    assert image.shape == (840, 1280, 4)
    assert ElementTree.parse(folder / "pareto.svg").getroot().tag.endswith("svg")


def test_it_shows_both_kinds_of_confirmation(full, result, tmp_path):
    image = pixels(full, tmp_path)
    assert has_colour(image, FRONT_COLOUR)
    assert has_colour(image, UNIFORM_COLOUR)
    unconfirmed = pixels(result(full.trials), tmp_path)
    assert not has_colour(unconfirmed, FRONT_COLOUR)
    assert not has_colour(unconfirmed, UNIFORM_COLOUR)


def test_equal_results_give_equal_files(full, tmp_path):
    for suffix in ("svg", "png"):
        one, other = tmp_path / f"one.{suffix}", tmp_path / f"other.{suffix}"
        plot_search(full, one)
        plot_search(full, other)
        assert one.read_bytes() == other.read_bytes()


def test_axes_legend_and_uniform_placements_are_named(full, texts):
    words = texts(full)
    legend = ["trials (validation; 1 lie below)", "their front", "mixed (test)", "uniform (test)"]
    assert {"Spikes per sample", "Accuracy (%)", "none", "ta", "ca", "sa", "tcsa", *legend} <= set(words)


def test_stopped_trials_are_counted_and_not_drawn(result, trial, texts, tmp_path):
    complete = [trial(0, 0.9, 1000), trial(1, 0.8, 500)]
    one = result([*complete, trial(2, 0.99, 100, stopped=3), trial(3, 0.1, 700, stopped=1)])
    assert "trials (validation; 2 stopped early)" in texts(one)
    another = result([*complete, trial(2, 0.5, 1e5, stopped=3), trial(3, 0.3, 2, stopped=1)])
    assert np.array_equal(pixels(one, tmp_path), pixels(another, tmp_path))


def test_the_legend_says_what_a_logarithmic_axis_cannot_show(result, trial, confirmation, texts):
    trials = [trial(n, 0.8, 100 * n) for n in range(5)] + [trial(5, 0.9, 0), trial(6, 0.1, 0), trial(7, 0.1, 50)]
    confirmed = [
        confirmation(None, [0.8, 0.8], [0, 0]),
        confirmation(None, [0.8, 0.8], [0, 10]),
        confirmation("none", [0.8], [50]),
        confirmation("ta", [0.8], [0]),
        confirmation("ca", [0.8], [0]),
    ]
    words = set(texts(result(trials, confirmed)))
    assert {"trials (validation; 2 lie below; 2 cost 0)", "mixed (test; 1 cost 0)", "uniform (test; 2 cost 0)"} <= words


@pytest.mark.parametrize("objective", AXIS_LABELS)
def test_every_objective_has_its_axis(result, trial, texts, objective):
    assert AXIS_LABELS[objective] in texts(result([trial(0, 0.5, 100)], objective=objective))


@pytest.mark.parametrize(
    ("costs", "ticks"),
    [
        ([600, 3000], {"1,000", "2,000"}),
        ([1900, 2600], {"2,000", "2,200", "2,400"}),
        ([20, 2_000_000], {"100", "1,000", "10,000", "100,000", "1,000,000"}),
        ([0.21, 0.45], {"0.3", "0.4"}),
    ],
)
def test_ticks_are_few_and_readable(result, trial, texts, costs, ticks):
    words = texts(result([trial(n, 0.5, cost) for n, cost in enumerate(costs)]))
    costs_shown = words[: words.index("Spikes per sample")]
    assert ticks <= set(costs_shown)
    assert 2 <= len(costs_shown) <= 9
    assert not any("e" in word or "$" in word for word in costs_shown)


@pytest.mark.parametrize(
    "figures",
    [
        [],
        [(0.5, 1234)],
        [(0.5, 0)],
        [(0.5, 0), (0.6, 100)],
        [(0.9, 100), (0.9, 200), (0.9, 300)],
        [(0.0, 100), (0.0, 100)],
        [(1.0, 100), (1.0, 1e9), (0.0, 1)],
    ],
    ids=str,
)
@pytest.mark.parametrize("confirmed", [False, True])
def test_odd_results_are_drawn_too(result, trial, confirmation, texts, figures, confirmed):
    confirmations = [
        confirmation("none", [0.5, 0.5], [100, 100]),
        confirmation("ta", [1.0, 0.0], [0, 1e6]),
        confirmation("ca", [], [], failures={1: "NaN"}),
    ]
    trials = [trial(n, *pair) for n, pair in enumerate(figures)] + [trial(99, reason="NaN")]
    words = texts(result(trials, confirmations if confirmed else []))
    assert "Accuracy (%)" in words
    assert ("none" in words) == confirmed
    assert "ca" not in words


def test_labels_of_placements_that_lie_together_do_not_overlap(result, trial, confirmation, tmp_path, monkeypatch):
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    names = ("none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa")
    crowd = [confirmation(name, [0.9 + n / 500], [1000 + 5 * n]) for n, name in enumerate(names)]
    save, boxes = Figure.savefig, []

    def look(figure, *args, **options):
        labels = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]
        boxes.extend(label.get_window_extent() for label in labels)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", look)
    plot_search(result([trial(0, 0.8, 500), trial(1, 0.95, 2000)], crowd), tmp_path / "crowd.png")
    assert len(boxes) == len(names)
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
