import pytest
import torch
from torch import nn

from quietspike.core import NEURONS, Placement
from quietspike.core.analyses.watching import neuron_layers
from quietspike.core.conv3 import Conv3
from quietspike.core.neurons import LIF, gate_membrane, unroll
from quietspike.core.surrogates import surrogate
from quietspike.core.testing import check_neuron

from .conftest import measure, refused


@pytest.mark.parametrize("name", NEURONS.names())
def test_every_registered_neuron_passes(name):
    check_neuron(NEURONS.get(name))


class Wrapped(LIF):
    """LIF with a hand in its way."""

    def __init__(self, membrane=None):
        super().__init__(membrane=membrane)


class Wide(Wrapped):
    def forward(self, current):
        return super().forward(current).flatten(3)


class Silent(Wrapped):
    def forward(self, current):
        return super().forward(current) * 0


class Remembering(Wrapped):
    held = None

    def forward(self, current):
        spikes = []
        for now in current:
            spike, self.held = self.step(now, self.held)
            spikes.append(spike)
        return torch.stack(spikes)


class TwoMinds(Wrapped):
    def step(self, current, state):
        spikes, state = super().step(current, state)
        return spikes, state if state is None else state * 0.5

    def forward(self, current):
        return LIF(membrane=self.membrane)(current)


class NoGradient(Wrapped):
    def forward(self, current):
        return super().forward(current.detach()) + 0 * current.detach()


class CutOff(Wrapped):
    def forward(self, current):
        return super().forward(current.detach()) + 0 * current


class Deaf(Wrapped):
    def __init__(self, membrane=None):
        super().__init__()


class AllAtOnce(Wrapped):
    def __init__(self, membrane=None):
        super().__init__()
        self.gate = membrane

    def forward(self, current):
        return super().forward(current if self.gate is None else self.gate(current))


class LooksAndIgnores(Wrapped):
    def __init__(self, membrane=None):
        super().__init__()
        self.gate = membrane

    def step(self, current, state):
        if self.gate is not None:
            self.gate(current.unsqueeze(0))
        return super().step(current, state)


class Sociable(Wrapped):
    def step(self, current, state):
        return super().step(current - 0.3 * current.mean(0), state)


class Recurrent(Wrapped):
    """Its own synapses make it a block, whose spikes nobody counts."""

    def __init__(self, membrane=None):
        super().__init__(membrane)
        self.back = nn.Linear(9, 9)


class LooksAtItself(Wrapped):
    def __init__(self, membrane=None):
        super().__init__(membrane)
        self.decay = torch.tensor(0.5).item()


class NoStep(nn.Module):
    def __init__(self, membrane=None):
        super().__init__()


class NoModule:
    def __init__(self, membrane=None):
        pass

    def forward(self, current):
        return current

    def step(self, current, state):
        return current, state


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (NoStep, "a neuron is an nn.Module with step()"),
        (NoModule, "a neuron is an nn.Module with step()"),
        (Wide, "spikes have shape (6, 3, 8, 81), not the current's"),
        (Silent, "a strong current gives no finite spikes"),
        (Remembering, "a second call differs: something is kept between calls"),
        (TwoMinds, "step() by step differs from forward()"),
        (NoGradient, "no gradient reaches the current"),
        (CutOff, "no gradient reaches the current"),
        (Deaf, "membrane is not called once a step with [1, B, ...]"),
        (AllAtOnce, "membrane is not called once a step with [1, B, ...]"),
        (LooksAndIgnores, "spikes do not follow the membrane's result"),
        (Sociable, "a sample's output depends on its batch neighbours"),
        (Recurrent, "spikes, of which 0 are counted"),
        (LooksAtItself, "it cannot be built on the meta device: Tensor.item() cannot be called on meta tensors"),
    ],
)
def test_a_broken_neuron_is_refused(plugin, sentence):
    refused(check_neuron, plugin, sentence)


class Gated(nn.Module):
    """Keeps its attention under a name of its own."""

    def __init__(self, membrane=None):
        super().__init__()
        self.gate = nn.Identity() if membrane is None else membrane
        self.spike = surrogate("atan")

    def forward(self, current):
        return unroll(self.step, current)

    def step(self, current, state):
        potential = gate_membrane(self.gate, current if state is None else state + current)
        spikes = self.spike(potential - 0.5)
        return spikes, 0.5 * potential * (1 - spikes)


class Outer(nn.Module):
    """Streams a neuron inside, whose own forward never runs."""

    def __init__(self, membrane=None):
        super().__init__()
        self.inner = LIF(membrane=membrane)

    def forward(self, current):
        return unroll(self.step, current)

    def step(self, current, state):
        return self.inner.step(current, state)


@pytest.mark.parametrize("plugin", [Gated, Outer])
def test_a_neuron_may_name_its_attention_or_hold_a_neuron(plugin):
    check_neuron(plugin)


@pytest.mark.parametrize("membrane", ["none", {"name": "csa", "channel_reduction": 2}])
@pytest.mark.parametrize("plugin", [Gated, Outer])
def test_their_spikes_are_counted_and_watched(plugin, membrane):
    torch.manual_seed(0)
    placement = Placement({"block1.membrane": membrane})
    options = {"input_shape": (2, 8, 8), "steps": 3, "classes": 2, "widths": (4,), "pools": (1,), "hidden": ()}
    network, frames = Conv3(**options, neuron=plugin, attention=placement), 9 * torch.rand(3, 2, 2, 8, 8)
    cost = measure(network, frames)
    with torch.no_grad():
        first = network.block1(frames)
        second = network.fc1(first)
    assert first.any()
    spikes = {layer.layer: layer.spikes * 2 for layer in cost.neuron_layers}
    assert spikes == {"block1.neuron": first.count_nonzero(), "fc1.neuron": second.count_nonzero()}
    assert [name for name, _ in neuron_layers(network)] == list(spikes)
    assert [layer.layer for layer in cost.layers if layer.kind == "attention"] == ["block1.membrane"] * len(placement)
