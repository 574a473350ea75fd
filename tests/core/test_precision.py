"""Networks that run in bfloat16: what is rounded, what is not, and what comes of it."""

import dataclasses

import pytest
import torch
from torch import nn

from quietspike.core import BACKBONES, UnknownNameError
from quietspike.core.evaluation import evaluate
from quietspike.core.kernels import reference
from quietspike.core.metering import CostMeter, neuron_layers
from quietspike.core.norm import PooledNorm
from quietspike.core.placement import Placement
from quietspike.core.recipe import Recipe
from quietspike.core.training import train

from .conftest import assert_same, state, untimed

HALF = Recipe(epochs=4, batch_size=12, learning_rate=0.01, precision="bfloat16")
GATED = Placement({"block1.current": "asa", "block2.current": "tcsa"})


def seen(network, frames, recipe):
    """Types of what synapses, normalisations and neurons get, by kind of module."""
    kinds, handles = {}, []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, PooledNorm)) or any(
            module is n for _, n in neuron_layers(network)
        ):

            def note(module, inputs, output):
                kinds.setdefault(type(module).__name__, set()).add((inputs[0].dtype, output.dtype))

            handles.append(module.register_forward_hook(note))
    scores = recipe.run(network, frames)
    for handle in handles:
        handle.remove()
    return scores, kinds


def test_between_synapses_and_neurons_all_is_bfloat16_and_weights_are_not(build, toy):
    network = build(GATED).train()
    frames = toy.split("train").frames.transpose(0, 1)
    scores, kinds = seen(network, frames, HALF)
    half = torch.bfloat16
    assert scores.dtype == torch.float32
    assert kinds["PooledNorm"] == kinds["LIF"] == {(half, half)}
    assert (half, half) in kinds["Conv2d"]
    HALF.loss_of(scores, toy.split("train").labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32, name
    assert {buffer.dtype for buffer in network.buffers() if buffer.is_floating_point()} == {torch.float32}


def test_it_learns_and_is_evaluated_as_it_was_trained(build, toy):
    network = build()
    rows = list(train(network, toy, dataclasses.replace(HALF, epochs=15), seed=0))
    assert rows[-1].accuracy >= 0.9
    test = toy.split("test")
    shown = {
        precision: evaluate(
            network, [(test.frames.transpose(0, 1), test.labels)], Recipe(precision=precision), torch.device("cpu")
        )
        for precision in ("float32", "bfloat16")
    }
    assert shown["bfloat16"].accuracy >= 0.9
    assert shown["bfloat16"].cost.spikes == pytest.approx(shown["float32"].cost.spikes, rel=0.05)


def test_spikes_are_counted_as_they_are(build, toy):
    network = build().eval()
    frames = toy.split("train").frames.transpose(0, 1)
    fired = {}
    for name, neuron in neuron_layers(network):
        neuron.register_forward_hook(
            lambda _, __, spikes, name=name: fired.update({name: int(spikes.float().sum(dtype=torch.float64))})
        )
    with torch.no_grad(), CostMeter(network) as meter:
        HALF.run(network, frames)
    assert sum(fired.values()) > 1000
    assert meter.cost().spikes == pytest.approx(sum(fired.values()) / frames.shape[1])


def test_a_resumed_run_ends_bitwise_as_an_undisturbed_one(build, toy, tmp_path):
    path = tmp_path / "run.safetensors"
    whole, parted = build(GATED), build(GATED)
    rows = list(train(whole, toy, HALF, seed=0))
    run = train(parted, toy, HALF, seed=0, checkpoint=path)
    next(run)
    run.close()
    again = build(GATED, seed=5)
    resumed = list(train(again, toy, HALF, seed=0, checkpoint=path))
    assert untimed(resumed) == untimed(rows)
    assert_same(state(again), state(whole))


@pytest.mark.parametrize("name", sorted(BACKBONES.names()))
def test_every_backbone_runs_with_and_without_kernels(name):
    torch.manual_seed(0)
    size = 32 if "resnet" in name or name == "conv3" else 64
    network = BACKBONES.get(name)(input_shape=(2, size, size), steps=2, classes=3).train()
    frames = (torch.rand(2, 2, 2, size, size) < 0.3).float()
    for kernels in (True, False):
        if kernels:
            scores = HALF.run(network, frames)
        else:
            with reference():
                scores = HALF.run(network, frames)
        assert scores.dtype == torch.float32
        HALF.loss_of(scores, torch.tensor([0, 1])).backward()
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_an_unknown_precision_is_refused():
    with pytest.raises(UnknownNameError, match="precision: no 'bfloat61'; did you mean 'bfloat16'"):
        Recipe(precision="bfloat61")


@pytest.mark.parametrize("name", ["conv3", "ms_resnet18", "sew_resnet18"])
def test_a_network_wholly_in_bfloat16_runs(name):
    torch.manual_seed(0)
    network = BACKBONES.get(name)(input_shape=(2, 32, 32), steps=2, classes=3).bfloat16().eval()
    frames = (torch.rand(2, 2, 2, 32, 32) < 0.3).bfloat16()
    with torch.no_grad():
        scores = network(frames)
        with reference():
            expected = network(frames)
    torch.testing.assert_close(scores, expected, rtol=0.1, atol=0.1, check_dtype=False)
