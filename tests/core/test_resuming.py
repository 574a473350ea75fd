import dataclasses
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quietspike.core import CheckpointError
from quietspike.core.recipe import Recipe
from quietspike.core.training import train
from quietspike.core.weights import load_tensors, save_tensors

from .conftest import assert_same, state, untimed

QUICK = Recipe(epochs=4, batch_size=16, learning_rate=0.01)
MATRIX = [
    Recipe(
        epochs=4,
        batch_size=16,
        learning_rate=0.02,
        optimizer=optimizer,
        schedule=schedule,
        weight_decay=0.01,
        plateau_patience=0,
        plateau_factor=0.5,
        clip_norm=0.5 if schedule == "constant" else None,
        loss="cross_entropy" if schedule == "plateau" else "mse",
    )
    for optimizer in ("adam", "adamw", "sgd")
    for schedule in ("constant", "cosine", "plateau")
]


@pytest.mark.parametrize("recipe", MATRIX, ids=lambda recipe: f"{recipe.optimizer}-{recipe.schedule}")
def test_a_resumed_run_ends_bitwise_as_an_undisturbed_one(toy, build, with_dropout, recipe, tmp_path):
    undisturbed = build(with_dropout)
    rows = list(train(undisturbed, toy, recipe, seed=5, checkpoint=tmp_path / "whole"))
    for stop in (1, 3):
        path = tmp_path / f"stopped after {stop}"
        broken_off = train(build(with_dropout), toy, recipe, seed=5, checkpoint=path)
        for _ in range(stop):
            next(broken_off)
        broken_off.close()
        resumed = build(with_dropout, seed=99)
        again = list(train(resumed, toy, recipe, seed=5, checkpoint=path))
        assert untimed(again) == untimed(rows)
        assert_same(state(resumed), state(undisturbed))
        assert_same(load_tensors(path)[0], load_tensors(tmp_path / "whole")[0])
    kinds = {name.rsplit(".", 1)[1] for name in load_tensors(tmp_path / "whole")[0] if name.startswith("optimizer.")}
    assert kinds == ({"momentum_buffer"} if recipe.optimizer == "sgd" else {"step", "exp_avg", "exp_avg_sq"})


@pytest.mark.parametrize("neuron", ["plif", "snntorch_leaky"])
def test_every_neurons_run_can_be_resumed(toy, build, neuron, tmp_path):
    recipe = dataclasses.replace(QUICK, epochs=3, optimizer="sgd", momentum=0.0)
    undisturbed, resumed = build(neuron=neuron), build(neuron=neuron)
    rows = list(train(undisturbed, toy, recipe, seed=1))
    next(train(build(neuron=neuron), toy, recipe, seed=1, checkpoint=tmp_path / "c"))
    assert untimed(train(resumed, toy, recipe, seed=1, checkpoint=tmp_path / "c")) == untimed(rows)
    assert_same(state(resumed), state(undisturbed))


def test_resuming_does_not_depend_on_what_was_drawn_in_between(toy, build, with_dropout, tmp_path):
    undisturbed = build(with_dropout)
    list(train(undisturbed, toy, QUICK, seed=5))
    resumed = build(with_dropout)
    for row in train(resumed, toy, QUICK, seed=5, checkpoint=tmp_path / "c"):
        torch.manual_seed(row.epoch)
    assert_same(state(resumed), state(undisturbed))


def test_a_record_may_hold_what_json_writes_otherwise(toy, build, tmp_path):
    record = {"shape": (2, 8, 8)}
    for _ in range(2):
        rows = list(train(build(), toy, QUICK, seed=0, checkpoint=tmp_path / "c", record=record))
    assert len(rows) == QUICK.epochs


def test_a_finished_run_is_read_and_not_trained_again(toy, build, tmp_path):
    first = build()
    rows = list(train(first, toy, QUICK, seed=0, checkpoint=tmp_path / "c"))
    content = (tmp_path / "c").read_bytes()
    second = build(seed=8)
    assert list(train(second, toy, QUICK, seed=0, checkpoint=tmp_path / "c")) == rows
    assert_same(state(first), state(second))
    assert (tmp_path / "c").read_bytes() == content


KILLED = """
import runpy, sys
from pathlib import Path
import torch
from torch import nn
from quietspike.core.networks import build_network
from quietspike.core.recipe import Recipe
from quietspike.core.training import train

toys = runpy.run_path(sys.argv[1])
torch.set_num_threads(1)
dataset = toys["ToyDataset"]()
network = build_network(toys["SMALL"], {"name": "lif"}, lambda site: nn.Dropout(0.2), dataset, 0)
recipe = Recipe(epochs=12, batch_size=16, learning_rate=0.01)
for row in train(network, dataset, recipe, seed=5, checkpoint=Path(sys.argv[2])):
    print(row.epoch, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_run_is_resumed_to_the_same_end(toy, build, with_dropout, tmp_path):
    path = tmp_path / "c"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).with_name("conftest.py")), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        shown = [process.stdout.readline().strip() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert shown == ["1", "2", "3"]
    assert process.returncode == -signal.SIGKILL
    reached = len(load_tensors(path)[1]["rows"])
    assert 3 <= reached < 12
    recipe = Recipe(epochs=12, batch_size=16, learning_rate=0.01)
    undisturbed, resumed = build(with_dropout), build(with_dropout, seed=99)
    rows = untimed(train(undisturbed, toy, recipe, seed=5))
    assert untimed(train(resumed, toy, recipe, seed=5, checkpoint=path)) == rows
    assert_same(state(resumed), state(undisturbed))


class TestRefusedCheckpoints:
    @pytest.fixture
    def path(self, toy, build, tmp_path):
        path = tmp_path / "c"
        next(train(build(), toy, QUICK, seed=0, checkpoint=path))
        return path

    def refusal(self, network, toy, path, recipe=QUICK, seed=0):
        before = state(network)
        with pytest.raises(CheckpointError) as caught:
            next(train(network, toy, recipe, seed=seed, checkpoint=path))
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert_same(state(network), before)
        return message.removeprefix(f"{path}: ")

    def test_of_another_recipe(self, toy, build, path):
        recipe = dataclasses.replace(QUICK, learning_rate=0.02)
        assert self.refusal(build(), toy, path, recipe=recipe).startswith("belongs to a run with recipe {")

    def test_of_another_seed(self, toy, build, path):
        assert self.refusal(build(), toy, path, seed=1) == "belongs to a run with seed 0, not 1"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"hidden": [13]}, r"fc1\.linear\.\w+ has shape \(12,.*\), not \(13,.*\)"),
            ({"hidden": [12, 12]}, r"fc2\.linear\.\w+ has shape \(3,.*\), not \(12,.*\)"),
            ({"fc_norm": False}, r"weights: no 'fc1\.norm\.\w+'; did you mean '\w+\.norm\.\w+'\?"),
            ({"neuron": "plif"}, r"weights: 'block1\.neuron\.w' is missing, and 4 more"),
        ],
    )
    def test_of_another_network(self, toy, build, path, options, message):
        assert re.fullmatch(message, self.refusal(build(**options), toy, path))

    @pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
    def test_truncated(self, toy, build, path, share):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert self.refusal(build(), toy, path).startswith("not a whole safetensors file (")

    def test_a_pickle(self, toy, build, path, tmp_path):
        class Spy:
            def __reduce__(self):
                return Path.touch, (tmp_path / "trace",)

        path.write_bytes(pickle.dumps(Spy()))
        assert self.refusal(build(), toy, path).startswith("not a whole safetensors file (")
        assert not (tmp_path / "trace").exists()

    def test_weights_without_a_training_state(self, toy, build, path):
        save_tensors(path, build().state_dict(), {})
        assert self.refusal(build(), toy, path).startswith("belongs to a run with recipe None, not {")

    @pytest.mark.parametrize("rows", [None, [{"epoch": 1}], 3])
    def test_with_a_record_of_another_version(self, toy, build, path, rows):
        tensors, record = load_tensors(path)
        save_tensors(path, tensors, {**record, "rows": rows})
        network = build()
        with pytest.raises(CheckpointError, match=r": not a checkpoint of this version \([^\n]*\)$"):
            next(train(network, toy, QUICK, seed=0, checkpoint=path))
