"""Networks on a GPU against the same on the CPU: skipped where there is none."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from quietspike.core import ATTENTION, BACKBONES, NEURONS
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.kernels import reference
from quietspike.core.layers import channels_last
from quietspike.core.metering import outermost
from quietspike.core.placement import Placement, list_sites
from quietspike.core.recipe import Recipe
from quietspike.core.training import train

from .conftest import bits, measure
from .test_conformance_backbones import SMALL

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU = torch.device("cuda")
QUICK = Recipe(epochs=4, batch_size=12, learning_rate=0.01)
DROPPING = ("plif5", "ms_resnet18", "ms_resnet34", "ms_resnet104")


@pytest.fixture(autouse=True)
def _deterministic():
    with torch.backends.cudnn.flags(deterministic=True):
        yield


def small(name, attention):
    """A network of random weights, float64, in which a rounding makes no potential cross the threshold."""
    shape = {"input_shape": (2, 32, 32), "steps": 3, "classes": 3, **SMALL[name]}
    if name in DROPPING:
        shape["dropout"] = 0.0
    build = BACKBONES.get(name)
    placement = Placement.uniform({"name": attention}, list_sites(partial(build, **shape)))
    torch.manual_seed(0)
    network = build(**shape, attention=placement).double()
    for _, module in outermost(network):
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.Linear):
            module.weight.data *= 2  # or nothing would fire in the last layers
    return network


def gradients(network, frames, recipe=QUICK):
    """Scores, and gradients by parameter, of one step of training."""
    scores = recipe.run(network.train(), frames)
    recipe.loss_of(scores, torch.arange(frames.shape[1], device=frames.device) % 3).backward()
    return {"scores": scores, **{name: p.grad for name, p in network.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize(
    ("name", "attention"),
    [
        *((name, "none" if name == "plif5" else "tcsa") for name in BACKBONES.names()),
        *(("conv3", attention) for attention in ATTENTION.names()),
    ],
)
def test_scores_and_gradients_are_the_cpus(name, attention):
    network, frames = small(name, attention), bits(3, 4, 2, 32, 32).double()
    expected = gradients(network, frames)
    found = gradients(small(name, attention).to(GPU), frames.to(GPU))
    assert sum(bool(value.any()) for value in expected.values()) > len(expected) / 2
    found = {key: value.cpu() for key, value in found.items()}
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", BACKBONES.names())
def test_costs_are_the_cpus(name):
    network, frames = small(name, "tcsa"), bits(3, 4, 2, 32, 32).double()
    assert measure(network.to(GPU), frames.to(GPU)).data == measure(network.cpu(), frames).data


@pytest.mark.parametrize("name", NEURONS.names())
def test_every_neuron_fires_as_on_the_cpu(name):
    neuron, current = NEURONS.get(name)(), 3 * torch.rand(6, 2, 5, 4, 4)
    found = neuron.to(GPU)(current.to(GPU)).cpu()
    assert found.any()
    torch.testing.assert_close(found, neuron.cpu()(current))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["none", "tcsa", "asa"])
def test_kernels_change_neither_spikes_nor_gradients(attention, precision):
    network, frames = channels_last(small("conv3", attention).float().to(GPU)), bits(3, 4, 2, 32, 32).to(GPU)
    recipe = Recipe(precision=precision)
    found = gradients(network, frames, recipe)
    network.zero_grad()
    with reference():
        expected = gradients(network, frames, recipe)
    assert torch.equal(found.pop("scores"), expected.pop("scores"))
    for key, value in expected.items():
        assert (found[key] - value).norm() <= (1e-4 if precision == "float32" else 0.02) * value.norm(), key


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns(toy, build, precision):
    network = build()
    recipe = Recipe(epochs=12, batch_size=12, learning_rate=0.01, precision=precision)
    rows = list(train(network, toy, recipe, seed=0, device=GPU))
    assert rows[-1].train_accuracy >= 0.9
    assert rows[-1].train_loss < rows[0].train_loss
    shown = evaluate(network, Batches(toy.split("validation"), 12).epoch(), recipe, GPU)
    assert (rows[-1].accuracy, rows[-1].cost) == (shown.accuracy, shown.cost)


def test_training_goes_on_where_it_was_stopped(toy, build, tmp_path):
    path = tmp_path / "state.safetensors"
    undisturbed = list(train(build(), toy, QUICK, seed=0, device=GPU))
    training = train(build(), toy, QUICK, seed=0, device=GPU, checkpoint=path)
    next(training), next(training)
    training.close()
    rows = list(train(build(), toy, QUICK, seed=0, device=GPU, checkpoint=path))
    assert [row.epoch for row in rows] == [1, 2, 3, 4]
    for one, other in zip(rows, undisturbed, strict=True):
        same = dataclasses.replace(one, seconds=0), dataclasses.replace(other, seconds=0)
        assert same[0] == same[1]
