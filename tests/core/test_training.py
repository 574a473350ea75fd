import dataclasses
import json
import math
import os
import pickle
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import CheckpointError, OptionError
from quietspike.core.errors import QuietspikeError
from quietspike.core.evaluation import evaluate
from quietspike.core.recipe import Recipe
from quietspike.core.training import DivergedError, EpochRow, resolve_device, train
from quietspike.core.weights import load_tensors, save_tensors

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


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def untimed(rows):
    return [dataclasses.replace(row, seconds=0) for row in rows]


class Linear(nn.Module):
    """A readout without spikes; its loss can be anything."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2 * 8 * 8, 3)

    def forward(self, frames):
        return self.linear(frames.flatten(2)).mean(0)


def test_it_learns(toy, build):
    network = build(neuron="lif")
    recipe = Recipe(epochs=12, batch_size=12, learning_rate=0.01)
    rows = list(train(network, toy, recipe, seed=0))
    assert rows[-1].accuracy >= 0.9
    assert rows[-1].train_loss < rows[0].train_loss
    assert (
        evaluate(
            network, [(toy.split("test").frames.transpose(0, 1), toy.split("test").labels)], recipe, torch.device("cpu")
        ).accuracy
        >= 0.9
    )


def test_rows_say_what_happened(toy, build):
    recipe = dataclasses.replace(QUICK, epochs=3)
    network = build()
    rows = []
    for row in train(network, toy, recipe, seed=0):
        shown = evaluate(
            network,
            [(toy.split("validation").frames.transpose(0, 1), toy.split("validation").labels)],
            recipe,
            torch.device("cpu"),
        )
        assert (row.accuracy, row.cost) == (shown.accuracy, shown.cost)
        assert row.loss == pytest.approx(shown.loss)
        assert row.seconds > 0
        rows.append(row)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert [row.learning_rate for row in rows] == pytest.approx([0.01, 0.0075, 0.0025])
    assert [EpochRow.of(json.loads(json.dumps(row.data))) for row in rows] == rows


def test_the_training_loss_and_accuracy_are_means_over_samples(toy):
    network = Linear()
    split = toy.split("train")
    with torch.no_grad():
        scores = network(split.frames.transpose(0, 1))
    recipe = Recipe(epochs=1, batch_size=7, optimizer="sgd", learning_rate=1e-30)
    [row] = train(network, toy, recipe, seed=0)
    expected = ((scores - nn.functional.one_hot(split.labels, 3)) ** 2).mean().item()
    assert row.train_loss == pytest.approx(expected, rel=1e-5)
    assert row.train_accuracy == pytest.approx((scores.argmax(1) == split.labels).float().mean().item())


@pytest.mark.parametrize("recipe", MATRIX[::4], ids=lambda recipe: recipe.optimizer)
def test_the_same_seed_gives_the_same_weights_and_rows(toy, build, with_dropout, recipe):
    runs = []
    for seed in (3, 3, 4):
        torch.rand(7)
        network = build(with_dropout)
        runs.append((untimed(train(network, toy, recipe, seed=seed)), state(network)))
    assert runs[0][0] == runs[1][0]
    assert_same(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


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


def test_global_generators_are_left_alone(toy, build, with_dropout):
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002 (it must not be used)
    list(train(build(with_dropout), toy, dataclasses.replace(QUICK, epochs=2), seed=0))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]  # noqa: NPY002


def test_a_gradient_is_clipped_to_the_norm(toy):
    moves = {}
    for limit in (None, 0.01, 1e6):
        network = Linear()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(0.1)
        before = state(network)
        recipe = Recipe(epochs=1, batch_size=100, optimizer="sgd", learning_rate=2.0, momentum=0, clip_norm=limit)
        list(train(network, toy, recipe, seed=0))
        moves[limit] = math.sqrt(
            sum(((network.state_dict()[name] - old) ** 2).sum().item() for name, old in before.items())
        )
    assert moves[0.01] == pytest.approx(2.0 * 0.01, rel=1e-3)
    assert moves[None] > 0.1
    assert moves[1e6] == moves[None]


class TestDivergence:
    def test_a_loss_that_is_not_a_number_names_epoch_and_step(self, toy):
        split = toy.split("train")

        class Poisoned:
            classes, steps, input_shape = toy.classes, toy.steps, toy.input_shape

            def split(self, name):
                if name == "train":
                    split.frames[17] = math.nan
                    return split
                return toy.split(name)

        with pytest.raises(DivergedError, match=r"^the loss is nan in epoch 1, step [1-6]$"):
            list(train(Linear(), Poisoned(), dataclasses.replace(QUICK, batch_size=6), seed=0))

    def test_the_step_is_counted_in_its_epoch(self, toy):
        calls = []

        class Late(Linear):
            def forward(self, frames):
                if self.training:
                    calls.append(1)
                return super().forward(frames) * (math.inf if len(calls) == 6 else 1)

        with pytest.raises(DivergedError, match=r"^the loss is inf in epoch 2, step 3$"):
            list(train(Late(), toy, QUICK, seed=0))

    def test_spikes_do_not_hide_it(self, toy, build):
        network = build()
        with torch.no_grad():
            network.block2.conv.weight[0, 0, 0, 0] = math.nan
        with pytest.raises(DivergedError, match=r"^the gradient is nan in epoch 1, step 1$"):
            list(train(network, toy, QUICK, seed=0))

    def test_a_rate_far_too_high_is_found(self, toy, build):
        recipe = Recipe(epochs=5, batch_size=16, optimizer="sgd", learning_rate=1e38, schedule="constant")
        with pytest.raises(DivergedError, match=r"^the (gradient|loss) is (nan|inf) in epoch \d, step \d$"):
            list(train(build(fc_norm=False, norm=False), toy, recipe, seed=0))

    def test_it_is_a_mistake_that_the_user_can_mend(self):
        assert issubclass(DivergedError, QuietspikeError)


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


class TestDevices:
    @pytest.fixture
    def gpus(self, monkeypatch):
        def have(count):
            monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
            monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

        return have

    @pytest.mark.parametrize(
        ("name", "worker", "count", "device"),
        [
            ("cpu", 0, 0, "cpu"),
            ("cpu", 3, 2, "cpu"),
            ("auto", 0, 0, "cpu"),
            ("auto", 0, 2, "cuda:0"),
            ("auto", 3, 2, "cuda:1"),
            ("cuda", 1, 2, "cuda:1"),
            ("cuda", 2, 2, "cuda:0"),
            ("cuda:1", 0, 2, "cuda:1"),
            ("cuda:1", 5, 8, "cuda:1"),
        ],
    )
    def test_names(self, gpus, name, worker, count, device):
        gpus(count)
        assert resolve_device(name, worker) == torch.device(device)

    @pytest.mark.parametrize(("name", "count"), [("cuda:7", 0), ("cuda:7", 2), ("cuda", 0), ("cuda:2", 2)])
    def test_a_gpu_that_is_not_there(self, gpus, name, count):
        gpus(count)
        with pytest.raises(OptionError) as caught:
            resolve_device(name)
        assert str(caught.value) == f"device={name!r}: this machine has {count} CUDA devices"

    @pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "cuda:1:2", "auto:1", "cpu:0", "", "CPU"])
    def test_other_names(self, gpus, name):
        gpus(1)
        with pytest.raises(OptionError) as caught:
            resolve_device(name)
        assert str(caught.value) == f"device={name!r}: must be auto, cpu, cuda or cuda:n"
