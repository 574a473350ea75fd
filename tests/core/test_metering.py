import json
from functools import partial

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from quietspike.core import OptionError, Placement, Site
from quietspike.core.conv3 import Conv3
from quietspike.core.cost import Cost
from quietspike.core.layers import Attend, over_steps
from quietspike.core.metering import CostMeter, is_neuron
from quietspike.core.neurons import LIF, PLIF

from .conftest import Counted, bits, measure


def test_sites_without_attention_have_no_row():
    cost = measure(Conv3(input_shape=(2, 8, 8), steps=2, classes=3, widths=(2, 2, 2), hidden=(4,)), bits(2, 1, 2, 8, 8))
    assert {layer.kind for layer in cost.layers} == {"synapse", "neuron", "other"}


@pytest.fixture(scope="module")
def gated():
    torch.manual_seed(0)
    network = Conv3(
        input_shape=(2, 8, 8),
        steps=3,
        classes=3,
        widths=(4, 4, 4),
        hidden=(9,),
        neuron=partial(PLIF, threshold=0.02),
        attention=lambda site: Counted() if site.name in ("block2.current", "block3.input") else nn.Identity(),
    )
    return network.double().eval()


def test_totals_are_the_sums_of_the_layers(gated):
    cost = measure(gated, bits(3, 5, 2, 8, 8).double())
    for name in ("spikes", "neurons", "synaptic_operations", "macs", "energy", "energy_paper", "parameters"):
        assert getattr(cost, name) == pytest.approx(sum(getattr(layer, name) for layer in cost.layers))
    rates = ("spatial_spikes", "firing_rate", "spatial_firing_rate")
    names = ("spikes", *rates, "synaptic_operations", "macs", "energy", "energy_paper", "parameters")
    assert cost.totals == {name: getattr(cost, name) for name in names}
    assert cost.parameters == sum(parameter.numel() for parameter in gated.parameters())
    assert all(layer.spikes > 0 for layer in cost.neuron_layers)
    assert cost.energy > cost.energy_paper


@settings(max_examples=25)
@given(data=st.data(), samples=st.integers(1, 7), seed=st.integers(0, 999))
def test_how_samples_are_cut_into_batches_does_not_matter(gated, data, samples, seed):
    frames = (bits(3, samples, 2, 8, 8, seed=seed) * 2).double()
    cuts = sorted(data.draw(st.sets(st.integers(1, samples - 1))) if samples > 1 else [])
    assert measure(gated, *frames.tensor_split(cuts, dim=1)) == measure(gated, frames)


def test_the_order_of_samples_does_not_matter(gated):
    frames = bits(3, 6, 2, 8, 8).double()
    assert measure(gated, frames.flip(1)) == measure(gated, frames)


def test_a_measured_cost_comes_back_from_json(gated):
    cost = measure(gated, bits(3, 7, 2, 8, 8).double())
    assert Cost.of(json.loads(json.dumps(cost.data))) == cost


def test_only_what_runs_while_the_meter_is_open_is_counted(gated):
    frames = bits(3, 2, 2, 8, 8).double()
    meter = CostMeter(gated)
    with pytest.raises(ValueError, match=r"^the network has seen no sample while the meter was open$"):
        meter.cost()
    gated(frames)
    with meter:
        gated(frames)
    inside = meter.cost()
    gated(1 - frames)
    assert meter.cost() == inside == measure(gated, frames)
    assert not any(module._forward_hooks for module in gated.modules())


def test_an_error_inside_leaves_no_hook(gated):
    with pytest.raises(OptionError), CostMeter(gated):
        gated(torch.zeros(3, 1, 5, 8, 8, dtype=torch.float64))
    assert not any(module._forward_hooks for module in gated.modules())


class Block(nn.Module):
    """Synapses and a neuron, that can stream too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.neuron = LIF()

    def forward(self, x):
        return self.neuron(over_steps(x, self.conv))

    def step(self, current, state):
        return self.neuron.step(self.conv(current), state)


class Backbone(nn.Module):
    """Its last layer is registered first; two layers see the frames."""

    def __init__(self):
        super().__init__()
        self.readout = nn.Linear(3, 4)
        self.block = Block()
        self.shortcut = nn.Conv2d(2, 3, 1)

    def forward(self, frames):
        x = over_steps(frames, self.shortcut) + self.block(frames)
        return self.readout((x > 0).float().mean((3, 4)).round()).mean(0)

    def step(self, frame, state):
        raise NotImplementedError


SITE = Site("block1.membrane", "membrane", 1, 1, spatial=True)


def test_what_counts_as_a_neuron():
    assert is_neuron(LIF())
    assert is_neuron(PLIF())
    assert is_neuron(LIF(membrane=nn.Conv2d(1, 1, 1)))
    assert not is_neuron(nn.ReLU())
    assert not is_neuron(Block())
    recurrent = LIF()
    recurrent.back = nn.Linear(3, 3)
    assert not is_neuron(recurrent)


@pytest.mark.parametrize("name", ["membrane", "gate"])
def test_a_neuron_may_call_its_attention_as_it_likes(name):
    neuron = LIF()
    setattr(neuron, name, Attend(SITE, lambda site: nn.Conv2d(1, 1, 1)))
    assert is_neuron(neuron)


class Wrapper(nn.Module):
    """A neuron that streams another."""

    def __init__(self):
        super().__init__()
        self.inner = LIF(threshold=0.5, decay=0.0)

    def forward(self, current):
        return torch.stack([self.step(now, None)[0] for now in current])

    def step(self, current, state):
        return self.inner.step(current, state)


def test_of_a_neuron_in_a_neuron_the_outer_counts():
    frames = bits(2, 3, 2, 4, 4)
    [layer] = measure(nn.Sequential(Wrapper()), frames).layers
    assert (layer.layer, layer.neurons, layer.spikes * 3) == ("0", 32, frames.sum())


def test_layers_come_as_they_run_and_what_sees_the_frames_multiplies():
    cost = measure(Backbone(), bits(2, 3, 2, 5, 5))
    rows = {layer.layer: layer for layer in cost.layers}
    assert list(rows) == ["shortcut", "block.conv", "block.neuron", "readout"]
    assert (rows["shortcut"].graded, rows["block.conv"].graded, rows["readout"].graded) == (True, True, False)
    assert rows["block.conv"].macs == 2 * 5 * 5 * 3 * 2 * 9
    assert rows["block.conv"].energy_paper == pytest.approx(
        rows["block.conv"].macs * rows["block.conv"].input_rate * 4.6e-6
    )
    assert rows["readout"].energy_paper == pytest.approx(rows["readout"].macs * rows["readout"].input_rate * 0.9e-6)


def test_a_layer_without_input_has_its_parameters():
    network = Conv3(input_shape=(2, 8, 8), steps=2, classes=3, widths=(2, 2, 2), hidden=(4,))
    network.spare = nn.Module()
    network.spare.conv = nn.Conv2d(2, 3, 3)
    network.forward = lambda frames: network.block1(frames).mean((0, 3, 4))
    cost = measure(network, bits(2, 1, 2, 8, 8))
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert [layer.macs for layer in cost.layers if layer.layer == "spare.conv"] == [0]


@pytest.mark.parametrize("layer", [nn.Conv3d(2, 2, 1), nn.LSTM(2, 2), nn.ConvTranspose2d(2, 2, 1)])
def test_synapses_that_would_come_for_free_are_refused(layer):
    network = nn.Sequential(nn.Linear(2, 2), layer)
    with pytest.raises(ValueError, match=f"^1: {type(layer).__name__} cannot be counted; synapses are nn.Conv2d"):
        CostMeter(network)


def test_a_neuron_layer_that_runs_twice_is_refused():
    class Twice(Block):
        def forward(self, x):
            return self.neuron(self.neuron(x))

    with pytest.raises(
        ValueError, match=r"^neuron runs twice in one pass: each place needs a neuron layer of its own$"
    ):
        measure(Twice(), bits(2, 1, 2, 4, 4))


def test_another_number_of_steps_is_refused():
    with pytest.raises(ValueError, match=r"^the network was shown 2 steps, and now 3: measure one at a time$"):
        measure(Block(), bits(2, 1, 2, 4, 4), bits(3, 1, 2, 4, 4))


def test_the_cost_of_ma_snns_attention_is_its_own_sum():
    placement = Placement({"block1.current": "tcsa"})
    options = {"input_shape": (2, 8, 8), "steps": 4, "classes": 3, "widths": (8, 4, 4), "hidden": (4,)}
    network = Conv3(**options, attention=placement)
    [attention] = [layer for layer in measure(network, bits(4, 1, 2, 8, 8)).layers if layer.kind == "attention"]
    own = network.block1.current.module.macs((4, 8, 8, 8))
    assert (attention.macs, attention.applying_macs) == (sum(own), own.applying)
    assert own.applying == 3 * 4 * 8 * 8 * 8
    assert attention.energy == pytest.approx(sum(own) * 4.6e-6)
