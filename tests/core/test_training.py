import dataclasses
import json
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import OptionError
from quietspike.core.errors import QuietspikeError
from quietspike.core.evaluation import evaluate
from quietspike.core.recipe import Recipe
from quietspike.core.training import DivergedError, EpochRow, resolve_device, train

from .conftest import assert_same, state, untimed

QUICK = Recipe(epochs=4, batch_size=16, learning_rate=0.01)
OPTIMISERS = [dataclasses.replace(QUICK, optimizer=name) for name in ("adam", "adamw", "sgd")]


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


def test_the_rate_follows_the_validation_loss(toy, build):
    class Turned(type(toy)):
        def split(self, name):
            split = super().split(name)
            if name == "validation":
                split.labels = split.labels.roll(1)
            return split

    recipe = Recipe(epochs=8, batch_size=12, learning_rate=0.01, schedule="plateau", plateau_patience=1)
    rows = list(train(build(), Turned(), recipe, seed=0))
    assert rows[-1].train_loss < rows[0].train_loss
    assert rows[-1].loss > rows[0].loss
    assert rows[-1].learning_rate < 0.01
    assert [row.learning_rate for row in rows] == [recipe.rate([row.loss for row in rows[:n]]) for n in range(8)]


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


@pytest.mark.parametrize("recipe", OPTIMISERS, ids=lambda recipe: recipe.optimizer)
def test_the_same_seed_gives_the_same_weights_and_rows(toy, build, with_dropout, recipe):
    runs = []
    for seed in (3, 3, 4):
        torch.rand(7)
        network = build(with_dropout)
        runs.append((untimed(train(network, toy, recipe, seed=seed)), state(network)))
    assert runs[0][0] == runs[1][0]
    assert_same(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


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


def test_a_last_sample_alone_is_no_batch_of_its_own(toy, build, monkeypatch):
    """36 samples in batches of 7 leave one over; with one step, batch normalisation has nothing to learn from it."""
    monkeypatch.setattr(toy, "steps", 1)
    [row] = train(build(), toy, Recipe(epochs=1, batch_size=7), seed=0)
    assert math.isfinite(row.train_loss)
    with pytest.raises(OptionError, match=r"^batch_size=1: batch normalisation needs two samples, or two steps"):
        next(train(build(), toy, Recipe(epochs=1, batch_size=1), seed=0))


def test_it_ends_in_evaluation_mode(toy, build):
    network = build()
    list(train(network, toy, dataclasses.replace(QUICK, epochs=1), seed=0))
    assert not any(module.training for module in network.modules())


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
            list(train(build(fc_norm=False, norm=False, seed=2), toy, recipe, seed=2))

    def test_it_is_a_mistake_that_the_user_can_mend(self):
        assert issubclass(DivergedError, QuietspikeError)


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
