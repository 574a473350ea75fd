import pytest
import torch
from torch import nn

from quietspike.core import NEURONS
from quietspike.core.neurons import LIF
from quietspike.core.testing import check_neuron

from .conftest import refused


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
    ],
)
def test_a_broken_neuron_is_refused(plugin, sentence):
    refused(check_neuron, plugin, sentence)
