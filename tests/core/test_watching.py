import pytest
import torch
from torch import nn

from quietspike.core import DataError, Site
from quietspike.core.analyses import SpikingActivity, find_blocks, neuron_layers, watch
from quietspike.core.layers import Attend
from quietspike.core.liaf import LIAF
from quietspike.core.neurons import LIF

from .conftest import in_batches, measure


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()


class Log:
    def __init__(self):
        self.calls = []

    def begin(self, frames):
        self.calls.append(("begin", tuple(frames.shape)))

    def add(self, layer, spikes):
        self.calls.append((layer, tuple(spikes.shape)))

    def end(self):
        self.calls.append(("end", None))


def test_each_batch_is_begun_shown_layer_by_layer_and_ended(relay):
    log = Log()
    watch(relay, in_batches(torch.ones(3, 5, 2, 4, 4), 4, 1), [log])
    assert log.calls == [
        ("begin", (3, 4, 2, 4, 4)),
        ("first", (3, 4, 2, 4, 4)),
        ("second", (3, 4, 2)),
        ("end", None),
        ("begin", (3, 1, 2, 4, 4)),
        ("first", (3, 1, 2, 4, 4)),
        ("second", (3, 1, 2)),
        ("end", None),
    ]


def test_the_network_is_left_as_it_was(relay):
    relay.train()
    watch(relay, in_batches(torch.ones(1, 1, 1, 2, 2)), [Log()])
    assert relay.training
    assert relay.first.training
    assert not any(module._forward_hooks for module in relay.modules())


def test_nothing_to_watch_is_refused(relay):
    with pytest.raises(DataError, match="no sample"):
        watch(relay, [], [Log()])
    with pytest.raises(ValueError, match="no neuron"):
        watch(nn.Linear(2, 2), in_batches(torch.ones(1, 1, 2)), [Log()])


def test_what_is_not_finite_is_refused_where_it_is(relay):
    frames = torch.ones(1, 2, 1, 2, 2)
    frames[0, 1, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"^frames: a value is not finite$"):
        watch(relay, in_batches(frames), [SpikingActivity()])
    relay.first = LIAF(activation="identity")
    relay.first.membrane = Root()
    with pytest.raises(DataError, match=r"^first: a value is not finite$"):
        watch(relay, in_batches(-torch.ones(1, 2, 1, 2, 2)), [SpikingActivity()])
    assert not any(module._forward_hooks for module in relay.modules())


def test_batches_without_samples_are_passed_over(relay):
    log = Log()
    watch(relay, in_batches(torch.ones(1, 2, 1, 2, 2), 0, 2, 0), [log])
    assert [call for call, _ in log.calls] == ["begin", "first", "second", "end"]
    with pytest.raises(DataError, match="no sample"):
        watch(relay, in_batches(torch.ones(1, 0, 1, 2, 2)), [log])


def test_a_layer_that_runs_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron = LIF()

        def forward(self, x):
            return self.neuron(self.neuron(x))

    network = Twice()
    with pytest.raises(ValueError, match="neuron runs twice"):
        watch(network, in_batches(torch.ones(1, 1, 1, 2, 2)), [SpikingActivity()])
    assert not network.neuron._forward_hooks


class Wrapped(nn.Module):
    """A neuron around a neuron."""

    def __init__(self):
        super().__init__()
        self.inner = LIF()

    def forward(self, current):
        return self.inner(current)

    def step(self, current, state):
        return self.inner.step(current, state)


class Spiking(nn.Module):
    """Attention that is made of a neuron, at the current and in a neuron, and neurons of several kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.current = Attend(Site("current", "current", 2, 1, spatial=True), lambda site: LIF())
        gate = Attend(Site("membrane", "membrane", 1, 1, spatial=True), lambda site: LIF())
        self.neurons = nn.Sequential(LIF(membrane=gate), Wrapped(), LIAF())

    def forward(self, frames):
        current = self.conv(frames.flatten(0, 1)).reshape(frames.shape)
        return self.neurons(self.current(current)).mean((0, 2, 3))


def test_the_layers_are_those_that_the_meter_counts():
    network, log = Spiking(), Log()
    frames = torch.ones(2, 1, 1, 2, 2)
    counted = [row.layer for row in measure(network, frames).neuron_layers]
    assert counted[0] == "neurons.0"
    assert [name for name, _ in neuron_layers(network)] == counted
    watch(network, in_batches(frames), [log])
    assert [call for call, _ in log.calls[1:-1]] == counted
    assert list(find_blocks(network)) == ["neurons"]
