"""The published tables under experiments/: every row trains, and what was printed agrees with itself."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from quietspike.core import DataError
from quietspike.core.conv3 import Conv3
from quietspike.core.metering import CostMeter
from quietspike.core.plif5 import PLIF5
from quietspike.search.data import open_dataset
from quietspike.search.reproducing import reproduce
from quietspike.search.reproduction import load_reproduction

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = {path.stem: load_reproduction(path) for path in EXPERIMENTS.glob("*.yaml") if "rows:" in path.read_text()}
ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]
GESTURES = {
    "name": "gestures_dvs",
    "size": 32,
    "duration_us": 60_000,
    "downscale": 1,
    "train": 1,
    "validation": 1,
    "test": 1,
}


def test_there_is_a_table_for_each_published_one():
    assert {"ma-table6", "ma-place", "ma-channel-slot", "ma-networks", "ma-imagenet", "asa-table"} <= TABLES.keys()


@pytest.fixture
def images(tmp_path):
    """Four classes of three images to train with, and one to test with."""
    for part, number in {"train": 3, "test": 1}.items():
        for label in "abcd":
            for index in range(number):
                path = tmp_path / "images" / part / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 40), (60 * ord(label) % 255, 80 * index, 0)).save(path)
    return tmp_path / "images"


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    """Frames that all rows have in common are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIETSPIKE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("shared_cache")
@pytest.mark.parametrize(("name", "row"), ROWS)
def test_every_row_trains_two_steps(name, row, images, tmp_path, store_template, console, monkeypatch):
    """On generated data, at another size and with fewer steps, by the command line's own overrides."""
    table = TABLES[name]
    given = table.row_experiment(row).dataset.data
    if given["name"] == "image_folder":
        data = {**given, "root": str(images), "size": 32, "validation": 4}
        batch = 4
    else:
        kept = {key: given[key] for key in ("by", "start", "clips") if key in given}
        window = {"window_us": 10_000} if given.get("window_us") else {}
        size = 64 if table.row_experiment(row).backbone.name == "conv5" else 32
        data, batch = {**GESTURES, **kept, **window, "steps": 3, "size": size}, 6
    output = tmp_path / "runs"
    output.mkdir()
    (output / "mlflow.db").write_bytes(store_template.read_bytes())
    alone = table.model_copy(update={"rows": {row: table.rows[row]}})
    keys = {"dataset": json.dumps(data), "train.epochs": 1, "train.batch_size": batch, "confirm.seeds": 1}
    overrides = [
        word
        for key, value in {**keys, "output": str(output), "device": "cpu"}.items()
        for word in (f"--{key}", str(value))
    ]
    steps = []
    step = torch.optim.Optimizer.step
    for kind in (torch.optim.Adam, torch.optim.SGD):
        monkeypatch.setattr(kind, "step", lambda self, *given, step=kind.step: steps.append(1) or step(self, *given))
    del step
    [made] = reproduce(alone, console, [], overrides)
    assert len(steps) == 2
    assert len(made.outcomes) == 1
    plain = table.rows[row].placement == "none"
    assert (len(made.placement) == 0) == plain
    assert made.values("efficiency") == pytest.approx([1 if plain else math.nan], nan_ok=True)


SHORT = {"window_us": 15_000, "steps": 60, "start": "random", "clips": 10}
COUNTED = {"by": "count", "steps": 20, "start": "first", "clips": 1, "downscale": 1}
ADAM = {"optimizer": "adam", "loss": "mse"}
SETTINGS = {
    ("ma-table6", "tcsa"): {**SHORT, **ADAM, "downscale": 4, "batch_size": 128, "epochs": 300, "learning_rate": 1e-4},
    ("ma-networks", "gesture5"): {"backbone": "plif5", "steps": 20, "window_us": 300_000, "downscale": 1},
    ("ma-networks", "gait5"): {"backbone": "plif5", "steps": 20, "window_us": 220_000, "downscale": 1},
    ("ma-networks", "gait5-code"): {
        "backbone": "conv5",
        "steps": 8,
        "window_us": 500_000,
        "start": "first",
        "clips": 1,
        "batch_size": 128,
        "epochs": 100,
        "learning_rate": 1e-3,
        "schedule": "plateau",
    },
    ("ma-imagenet", "res18"): {
        "backbone": "ms_resnet18",
        "steps": 1,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-5,
        "epochs": 250,
        "schedule": "cosine",
        "label_smoothing": 0.1,
        "autoaugment": True,
    },
    ("asa-table", "gesture"): {
        **SHORT,
        **ADAM,
        "batch_size": 32,
        "epochs": 200,
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "cosine_floor": 1e-6,
        "fc_norm": False,
        "dropout": [0, 0, 0.1, 0.1, 0.1],
    },
    ("asa-table", "gesture-by-count"): {
        **COUNTED,
        **ADAM,
        "backbone": "plif5",
        "batch_size": 8,
        "epochs": 200,
        "learning_rate": 1e-3,
        "weight_decay": 0,
    },
    ("asa-table", "gait-day"): {**SHORT, "batch_size": 32, "epochs": 200, "learning_rate": 1e-4, "weight_decay": 1e-4},
    ("asa-table", "gait-night"): {
        **SHORT,
        "batch_size": 32,
        "epochs": 100,
        "widths": [32, 32, 32],
        "dropout": [0, 0, 0.5, 0.5, 0.5],
    },
    ("asa-table", "daily-action"): {
        "backbone": "plif5",
        "steps": 36,
        "window_us": 120_000,
        "downscale": 2,
        "clips": 10,
        "batch_size": 4,
        "epochs": 100,
        "learning_rate": 1e-3,
        "weight_decay": 0,
    },
    ("asa-table", "har-dvs"): {"backbone": "sew_resnet18", "steps": 8, "batch_size": 32},
}
"""What the papers and their repositories say of their rows."""


@pytest.mark.parametrize(("name", "row"), SETTINGS)
def test_the_settings_are_the_papers(name, row):
    data = TABLES[name].row_experiment(row).data
    found = {**data["train"], **data["dataset"], **data["backbone"], "backbone": data["backbone"]["name"]}
    expected = SETTINGS[name, row]
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_a_rows_data_set_takes_its_options(name, row, tmp_path):
    experiment = TABLES[name].row_experiment(row, ["--dataset.root", str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match=f"no folder {tmp_path / 'nowhere'}"):
        open_dataset(experiment)


NEURONS = {
    "conv3": lambda classes: (Conv3(input_shape=(2, 32, 32), steps=1, classes=classes), (2, 32, 32)),
    "plif5": lambda classes: (PLIF5(input_shape=(2, 128, 128), steps=1, classes=classes), (2, 128, 128)),
}


@pytest.mark.parametrize("row", [name for name, row in TABLES["ma-networks"].rows.items() if row.published.spikes])
def test_published_spikes_are_those_of_the_published_rates(row):
    """Spikes = NASAR · neurons · T, to the digits that are printed; 106,763 and 2,793,472 neurons."""
    table = TABLES["ma-networks"]
    experiment, published = table.row_experiment(row), table.rows[row].published
    classes = 11 if experiment.dataset.name == "dvs_gesture" else 20
    network, shape = NEURONS[experiment.backbone.name](classes)
    with torch.no_grad(), CostMeter(network.eval()) as meter:
        network(torch.zeros(1, 1, *shape))
    spatial = table.rows[row].counted == "spatial"
    neurons = sum(layer.neurons for layer in meter.cost().neuron_layers if layer.spatial or not spatial)
    assert neurons == {"conv3": 106_752 + classes, "plif5": 2_793_472}[experiment.backbone.name]
    steps = experiment.dataset.data["steps"]
    assert published.spikes == pytest.approx(published.firing_rate * neurons * steps, abs=600)
