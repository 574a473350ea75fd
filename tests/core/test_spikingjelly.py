"""Spikes and synaptic operations of a trained network against SpikingJelly 2: its neurons and its counter."""

import numpy as np
import pytest
import torch
from spikingjelly.activation_based.neuron import LIFNode
from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter
from torch import nn

from quietspike.core.batches import Batches
from quietspike.core.conv3 import Conv3
from quietspike.core.metering import CostMeter
from quietspike.core.recipe import Recipe
from quietspike.core.training import train

SHAPE = {"input_shape": (2, 12, 12), "steps": 4, "classes": 3, "widths": (6, 8, 8), "hidden": (16,)}


class Blobs:
    """Three classes of sparse counts, each brighter in a third of the frame."""

    classes, steps, input_shape = ("a", "b", "c"), 4, (2, 12, 12)

    def split(self, name):
        random = np.random.default_rng(["train", "validation", "test"].index(name))
        labels = np.arange(48) % 3
        rates = np.full((48, 4, 2, 12, 12), 0.1)
        for index, label in enumerate(labels):
            rates[index, ..., 4 * label : 4 * label + 4] = 1.2
        frames = torch.from_numpy(random.poisson(rates)).float()
        return [(frame, int(label)) for frame, label in zip(frames, labels, strict=True)]


class Theirs(nn.Module):
    """SpikingJelly's leaky neuron, with the decay, the threshold and the reset of ours by default."""

    def __init__(self, membrane=None):
        super().__init__()
        self.node = LIFNode(tau=1 / 0.7, decay_input=False, v_threshold=0.3, v_reset=0.0, step_mode="m")

    def forward(self, current):
        self.node.reset()
        return self.node(current)


@pytest.fixture(scope="module")
def trained():
    """A network that has learned, and what it is measured on."""
    torch.manual_seed(0)
    network, data = Conv3(**SHAPE), Blobs()
    rows = list(train(network, data, Recipe(epochs=6, batch_size=12, learning_rate=0.01), seed=0))
    assert rows[-1].accuracy > 0.8
    [(frames, _)] = Batches(data.split("test"), 48).epoch()
    return network, frames


@pytest.mark.parametrize("binary", [True, False])
def test_synaptic_operations_are_those_of_its_counter(trained, binary):
    """Theirs counts what spikes meet alone; so it leaves out the first layer where the frames are counts of events."""
    network, frames = trained
    frames = frames.clamp(max=1) if binary else frames
    theirs = SynOpCounter()
    with torch.no_grad(), CostMeter(network) as meter:
        network(frames)
    with torch.no_grad(), DispatchCounterMode([theirs]):
        network(frames)
    ours = {layer.layer: layer.synaptic_operations * 48 for layer in meter.cost().layers if layer.kind == "synapse"}
    counted = {name.partition(".")[2]: sum(by.values()) for name, by in theirs.records.items()}
    assert len(ours) == 5
    for name, operations in ours.items():
        expected = 0 if name == "block1.conv" and not binary else operations
        assert counted[name] == pytest.approx(expected)
        assert operations > 0
    assert theirs.get_total() == pytest.approx(sum(ours.values()) - (0 if binary else ours["block1.conv"]))


def test_spikes_are_those_of_its_neurons(trained):
    network, frames = trained
    twin = Conv3(**SHAPE, neuron=Theirs)
    twin.load_state_dict(network.state_dict())
    spikes = {}
    for name, module in twin.named_modules():
        if isinstance(module, Theirs):
            module.register_forward_hook(lambda _, given, out, name=name: spikes.update({name: out.sum().item()}))
    with torch.no_grad(), CostMeter(network) as meter:
        scores = network(frames)
        assert torch.equal(twin.eval()(frames), scores)
    layers = meter.cost().neuron_layers
    assert {layer.layer: round(layer.spikes * 48) for layer in layers} == {name: round(s) for name, s in spikes.items()}
    assert all(layer.spikes > 0 for layer in layers)
