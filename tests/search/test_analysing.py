"""The command on a tiny trained network: what it writes, and that its numbers are those of the network."""

import csv
import dataclasses
from statistics import fmean

import pytest
import torch
from matplotlib.image import imread
from rich.console import Console
from torch import nn
from torch.utils.data import Subset

from quietspike.core import Placement
from quietspike.core.analyses import NETWORK
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.layers import SpikingConv
from quietspike.core.neurons import LIF
from quietspike.search import analysis_tables
from quietspike.search.analysing import analyse_weights
from quietspike.search.analysis import LONGEST, _summary, analyse_network, evenly
from quietspike.search.analysis_tables import TABLES
from quietspike.search.cli import main
from quietspike.search.design import Design
from quietspike.search.figures import FIGURES
from quietspike.search.opening import open_weights
from quietspike.search.single import train_design

PLACEMENT = Placement({"block1.current": "csa", "block3.current": "ta", "fc1.current": "ta"})
LAYERS = ["block1.neuron", "block2.neuron", "block3.neuron", "fc1.neuron", "fc2.neuron"]
BLOCKS = ["block1", "block2", "block3", "fc1", "fc2"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory, tiny_in):
    """Weights of a tiny training."""
    folder = tmp_path_factory.mktemp("analysing")
    train_design(tiny_in(folder, seed=4), Design(PLACEMENT), Console(quiet=True))
    [path] = folder.glob("runs/*/train/*/weights.safetensors")
    return path


@pytest.fixture(scope="module")
def opened(weights):
    return open_weights(weights, ["--device", "cpu"])


@pytest.fixture(scope="module")
def analysis(opened):
    return analyse_network(opened, "test")


@pytest.fixture(scope="module")
def cost(opened):
    """What ``evaluate`` says of the same split."""
    batches = Batches(opened.dataset.split("test"), 7)
    return evaluate(opened.network, batches.epoch(), opened.experiment.train, opened.device).cost


@pytest.fixture(scope="module")
def written(weights, tmp_path_factory):
    """The folder of an analysis, and what the command printed."""
    folder = tmp_path_factory.mktemp("written") / "of[/]the user"
    assert main(["analyse", str(weights), "--output", str(folder), "--device", "cpu"]) == 0
    return folder


def table(folder, name, **wanted):
    """Rows of a CSV file that have these values."""
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if all(row[key] == str(value) for key, value in wanted.items())]


# what is written


def test_each_figure_and_each_table_is_there_and_nothing_else(written):
    names = [f"{name}.png" for name in FIGURES] + [f"{name}.csv" for name in TABLES]
    assert sorted(path.name for path in written.iterdir()) == sorted(names)
    for name in FIGURES:
        image = imread(written / f"{name}.png")[..., :3]
        assert min(image.shape[:2]) > 300
        assert len({tuple(pixel) for pixel in image[::7, ::7].reshape(-1, 3).tolist()}) > 5


def test_it_lies_beside_the_weights_and_says_so(weights, console):
    analyse_weights(weights, ["--device", "cpu"], "validation", console)
    folder = weights.parent / "analysis"
    assert (folder / "nsar.csv").is_file()
    out = console.file.getvalue()
    assert out.endswith(f"In {folder}\n")
    assert "(validation)" in out
    assert all(word in out for word in [*LAYERS, *BLOCKS, "φ(JJᵀ)", "never fire", "noise"])


def test_equal_weights_give_equal_files(weights, written, tmp_path, console):
    analyse_weights(weights, ["--device", "cpu"], "test", console, folder=tmp_path / "again")
    for path in written.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


# the numbers


def test_the_rates_are_those_that_evaluate_shows(written, cost):
    [average] = table(written, "nsar", layer=NETWORK, step="all")
    assert float(average["mean"]) == pytest.approx(cost.firing_rate)
    for step, spikes in enumerate(cost.spikes_by_step, 1):
        [row] = table(written, "nsar", layer=NETWORK, step=step)
        assert float(row["mean"]) == pytest.approx(spikes / cost.neurons)
        assert float(row["variance"]) >= 0
    for layer in cost.neuron_layers:
        [row] = table(written, "nsar", layer=layer.layer, step="all")
        assert float(row["mean"]) == pytest.approx(layer.firing_rate)
        channels = table(written, "asrv_channels", layer=layer.layer, step="all")
        assert fmean(float(row["rate"]) for row in channels) == pytest.approx(layer.firing_rate)
        assert all((row["never_fires"] == "True") == (float(row["highest"]) == 0) for row in channels)


def test_the_maps_average_to_the_rates(written, cost):
    for layer in cost.neuron_layers[:3]:
        pixels = table(written, "spike_maps", layer=layer.layer, sample="mean")
        assert fmean(float(row["rate"]) for row in pixels) == pytest.approx(layer.firing_rate)
    assert {row["sample"] for row in table(written, "spike_maps")} == {"mean", "0", "10", "19"}


def test_every_neuron_of_the_layer_has_its_rate(written, cost):
    assert {row["layer"] for row in table(written, "asrv_neurons")} == {"block1.neuron"}
    neurons = table(written, "asrv_neurons", step="all")
    assert len(neurons) == cost.neuron_layers[0].neurons
    assert fmean(float(row["rate"]) for row in neurons) == pytest.approx(cost.neuron_layers[0].firing_rate)
    assert {row["step"] for row in table(written, "asrv_neurons")} == {"1", "3", "4", "all"}


def test_potentials_are_there_before_and_after_attention(written, cost):
    rows = table(written, "potentials_summary")
    assert [(row["layer"], row["attention"]) for row in rows if row["signal"] == "current"] == [
        ("block1", "before"),
        ("block1", "after"),
        ("block2", "before"),
        ("block3", "before"),
        ("block3", "after"),
        ("fc1", "before"),
        ("fc1", "after"),
        ("fc2", "before"),
    ]
    for layer in cost.neuron_layers:
        [row] = table(written, "potentials_summary", signal="membrane", layer=layer.layer.removesuffix(".neuron"))
        assert float(row["firing"]) == pytest.approx(layer.firing_rate)
        bins = table(written, "potentials", signal="membrane", layer=row["layer"])
        assert sum(int(each["count"]) for each in bins) == int(row["values"]) == layer.neurons * 4 * 20


def test_gradients_and_isometry_are_there_for_each_block(written):
    assert [row["block"] for row in table(written, "isometry")] == BLOCKS
    assert [row["block"] for row in table(written, "gradients")] == BLOCKS
    assert [row["layer"] for row in table(written, "noise")] == LAYERS[:3]
    assert all(float(row["phi"]) >= 0 and row["samples"] == "16" for row in table(written, "isometry"))
    assert len(table(written, "similarity_steps", layer="fc2.neuron")) == 6
    assert len(table(written, "similarity_channels", layer="block2.neuron")) == 4


def test_the_header_has_each_column_that_a_row_may_have(analysis, written):
    for name, each in TABLES.items():
        assert set().union(*each.rows(analysis)) == set(each.columns), name
        assert (written / f"{name}.csv").read_text().splitlines()[0] == ",".join(each.columns)


# a layer and a step of one's own


def test_a_layer_and_a_step_can_be_chosen(weights, tmp_path):
    chosen = ["--layer", "fc1.neuron", "--step=2", f"--output={tmp_path / 'own'}", "--device=cpu"]
    assert main(["analyse", str(weights), "--split", "validation", *chosen]) == 0
    rows = table(tmp_path / "own", "asrv_neurons")
    assert [(row["layer"], row["step"]) for row in rows] == [("fc1.neuron", "2")] * 8 + [("fc1.neuron", "all")] * 8
    assert [row["channel"] for row in rows[:8]] == [str(index) for index in range(8)]


# mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "block1.neurn"], "--layer: no 'block1.neurn'; did you mean 'block1.neuron'?"),
        (["--step", "5"], "--step=5: must lie in 1..4"),
        (["--step", "0"], "--step=0: must lie in 1..4"),
        (["--step", "last"], "analyse: argument --step: invalid int value: 'last'"),
        (["--split", "tset"], "--split: no 'tset'; did you mean 'test'?"),
        (["--train.epoch", "3"], "key: no 'train.epoch'; did you mean 'train.epochs'?"),
        (["--layers", "block1"], "option: no '--layers'; did you mean '--layer'?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(weights, tmp_path, capsys, words, message):
    assert main(["analyse", str(weights), "--output", str(tmp_path / "new"), *words]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"quietspike: {message}")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_leaves_a_folder_that_was_there(weights, tmp_path):
    assert main(["analyse", str(weights), "--output", str(tmp_path), "--step", "5"]) == 2
    assert tmp_path.is_dir()


def test_a_folder_that_cannot_be_written_is_one_line(weights, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["analyse", str(weights), "--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"quietspike: --output: {tmp_path / 'file'}: cannot be written: File exists\n"
    assert main(["analyse", str(tmp_path / "none.safetensors")]) == 2
    assert capsys.readouterr().err == f"quietspike: {tmp_path / 'none.safetensors'}: no such file\n"


# other networks


class Flat(nn.Module):
    """A backbone without blocks: its neurons are its own children."""

    def __init__(self, classes):
        super().__init__()
        self.conv, self.first = nn.Conv2d(2, 3, 3), LIF()
        self.linear, self.last = nn.Linear(3, classes), LIF()

    def forward(self, frames):
        spikes = self.first(self.conv(frames.flatten(0, 1)).reshape(*frames.shape[:2], 3, 10, 10))
        return self.last(self.linear(spikes.mean((3, 4)))).mean(0)


def test_a_network_without_blocks_has_all_but_the_gradients(opened):
    flat = dataclasses.replace(opened, network=Flat(10))
    analysis = analyse_network(flat, "test")
    assert analysis.notes == ("No gradients by depth: Flat: no child holds a neuron layer: name the blocks",)
    assert (analysis.isometry, analysis.gradients) == ([], [])
    drawn = [name for name, draw in FIGURES.items() if draw(analysis) is not None]
    assert drawn == [name for name in FIGURES if name not in ("isometry", "gradients")]
    for each in TABLES.values():
        list(each.rows(analysis))


def test_a_silent_network_is_drawn_too(opened):
    network = Flat(10)
    nn.init.zeros_(network.conv.weight)
    nn.init.zeros_(network.conv.bias)
    nn.init.constant_(network.linear.bias, -1)
    analysis = analyse_network(dataclasses.replace(opened, network=network), "test")
    assert analysis.activity[NETWORK].average == 0
    assert all(bool(analysis.responses.silent(layer).all()) for layer in ("first", "last"))
    figures = {name: figure for name, draw in FIGURES.items() if (figure := draw(analysis)) is not None}
    for figure in figures.values():
        figure.canvas.draw()
    bars = [axes for axes in figures["spike_maps"].axes if axes.get_label() == "<colorbar>"]
    assert [bar.get_visible() for bar in bars] == [True, False]  # of the input, and of the layer with space
    assert [axes for axes in figures["asrv"].axes if axes.get_label() == "<colorbar>"] == []
    assert all(patch.get_path().vertices.size for axes in figures["potentials"].axes for patch in axes.patches)
    for each in TABLES.values():
        list(each.rows(analysis))


def test_a_single_sample_has_no_standard_error(opened, monkeypatch, console):
    sample = Subset(opened.dataset.split("test"), [0])
    monkeypatch.setattr(opened.dataset, "split", lambda name: sample)
    analysis = analyse_network(opened, "test")
    assert [row["error"] for row in analysis_tables.isometry_rows(analysis)] == [""] * len(BLOCKS)
    console.print(analysis_tables.block_table(analysis))
    assert all(mark not in console.file.getvalue() for mark in ("±", "nan"))
    FIGURES["isometry"](analysis).canvas.draw()


class Deep(nn.Module):
    """Twelve blocks in a container, and a head without neurons."""

    def __init__(self, classes, attention=None):
        super().__init__()
        widths = [2, *[3] * 12]
        self.stages = nn.ModuleList(
            SpikingConv(f"stages.{index}", 4, (widths[index], 3), attention, LIF) for index in range(12)
        )
        self.head = nn.Linear(3, classes)

    def forward(self, frames):
        for stage in self.stages:
            frames = stage(frames)
        return self.head(frames.mean((0, 3, 4)))


def test_of_a_deep_network_the_figures_show_some_layers_and_the_tables_all(opened):
    analysis = analyse_network(dataclasses.replace(opened, network=Deep(10)), "test", step=1)
    assert [row.block for row in analysis.isometry] == [f"stages.{index}" for index in range(12)]
    assert len(list(analysis_tables.noise_rows(analysis))) == 12
    figures = {name: draw(analysis) for name, draw in FIGURES.items()}
    shown = [axes.get_title() for axes in figures["similarity"].axes if axes.get_title()]
    assert len(shown) == 8
    assert (shown[0], shown[-1]) == ("stages.0", "stages.11")
    for name in ("spike_maps", "nsar", "potentials", "similarity", "noise"):
        assert ", 8 of 12 layers" in figures[name].get_suptitle()


def test_of_a_deep_network_the_potentials_are_those_with_attention(opened):
    attended = Placement({"stages.5.current": "ca", "stages.7.current": "ca"})
    network = Deep(10, attended)
    figure = FIGURES["potentials"](analyse_network(dataclasses.replace(opened, network=network), "test"))
    shown = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(shown) == 8
    assert {"stages.0", "stages.5", "stages.7", "stages.11"} < set(shown)
    assert shown == sorted(shown, key=lambda name: int(name.split(".")[1]))
    assert "before and after attention" in figure.get_suptitle()


# what a figure says


def test_each_axis_says_what_it_shows(analysis):
    figures = {name: draw(analysis) for name, draw in FIGURES.items()}
    for name in ("nsar", "noise", "isometry", "gradients"):
        assert all(axes.get_ylabel() for axes in figures[name].axes), name
    potentials = [axes for axes in figures["potentials"].axes if axes.get_title()]
    assert [axes.get_title() for axes in potentials if axes.get_xlabel()] == ["block3", "fc1", "fc2"]
    assert [axes.get_title() for axes in potentials if axes.get_ylabel()] == ["block1", "fc1"]
    assert "may lie below" in figures["isometry"].axes[1].get_title()
    assert figures["asrv"].axes[-1].get_ylabel() == "spikes a sample and step"


def test_without_attention_there_is_no_before_and_after(analysis):
    before = [one for one in analysis.potentials if one.when == "before"]
    figure = FIGURES["potentials"](dataclasses.replace(analysis, potentials=before))
    assert "attention" not in figure.get_suptitle().splitlines()[0]
    assert FIGURES["potentials"](dataclasses.replace(analysis, potentials=[])) is None


MA = {"name": "csa", "kernel": 7, "per_step": True, "relu": False}


@pytest.mark.parametrize(
    ("choices", "summary"),
    [
        ({}, "none"),
        ({"block1.current": "csa", "fc1.current": "ta"}, "block1 csa · fc1 ta"),
        (
            {f"stage{index}.current": {"name": "csa", "channel_reduction": 8} for index in range(51)},
            "csa(channel_reduction=8) at 51 sites",
        ),
        (
            {
                f"block{index}.{signal}": of
                for index in range(5)
                for signal, of in (("current", "ta"), ("membrane", MA))
            },
            "ta at 5 sites · csa(kernel=7, per_step=True, relu=False) at 5 membrane sites",
        ),
        (
            {f"block{index}.current": {"name": "ca", "channel_reduction": index + 1} for index in range(9)},
            "ca at 9 sites",
        ),
        ({f"block{index}.current": f"attention_number_{index}" for index in range(20)}, "attention at 20 sites"),
    ],
)
def test_a_placement_is_named_in_a_title_that_fits(choices, summary):
    assert _summary(Placement(choices)) == summary
    assert len(summary) <= LONGEST


def test_a_long_title_stands_above_the_figure(analysis):
    title = " · ".join(["csa(kernel=7) at 10 membrane sites"] * 4)
    for name, draw in FIGURES.items():
        figure = draw(dataclasses.replace(analysis, title=title))
        figure.draw_without_rendering()
        box = figure.texts[0].get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, name
        assert all(axes.get_window_extent().y1 < box.y0 for axes in figure.axes), name


class Redrawn:
    """A training split that differs between epochs, as one that is augmented does."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return 3 * len(self.split)

    def __getitem__(self, index):
        raise AssertionError("asked for without an epoch")

    def at_epoch(self, number, seed):
        assert (number, seed) == (0, 0)
        return self.split


def test_a_split_that_differs_between_epochs_is_shown_as_in_the_first(opened, monkeypatch):
    real = opened.dataset.split("train")
    monkeypatch.setattr(opened.dataset, "split", lambda name: Redrawn(real))
    analysis = analyse_network(opened, "train")
    assert analysis.responses.samples == len(real) == 60
    assert analysis.isometry[0].samples == 16


@pytest.mark.parametrize(("length", "count"), [(1, 3), (3, 3), (500, 3), (17, 16), (9, 1)])
def test_samples_are_spread_over_the_split(length, count):
    chosen = evenly(length, count)
    assert len(set(chosen)) == min(length, count)
    assert (chosen[0], chosen[-1]) == (0, length - 1 if count > 1 else 0)
    assert torch.tensor(chosen).diff().max() <= -(-length // max(1, count - 1)) if len(chosen) > 1 else True
