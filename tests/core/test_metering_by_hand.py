import pytest
import torch
from torch import nn

from quietspike.core import AttentionMacs, Site
from quietspike.core.layers import Attend, over_steps
from quietspike.core.metering import CostMeter
from quietspike.core.neurons import LIF, PLIF
from quietspike.core.snntorch_neurons import snntorch_leaky
from quietspike.core.tallies import attention_macs

from .conftest import Counted, bits, measure


class KnownSpikes(nn.Module):
    """A neuron layer that gives the same spikes to every sample."""

    def __init__(self, spikes, membrane=None):
        super().__init__()
        self.spikes = spikes
        self.membrane = membrane

    def forward(self, current):
        return self.spikes.unsqueeze(1).expand(current.shape).to(current.dtype)

    def step(self, current, state):
        raise NotImplementedError


class ThirdParty(nn.Module):
    """Gates time by a linear map; it does not say what it costs."""

    def __init__(self, steps):
        super().__init__()
        self.norm = nn.BatchNorm1d(steps)
        self.linear = nn.Linear(steps, steps, bias=False)

    def forward(self, x):
        means = x.mean(tuple(range(2, x.dim())))
        weights = self.linear(self.norm(means.T)).T
        return x * weights.reshape(*x.shape[:2], *[1] * (x.dim() - 2))


class Chain(nn.Module):
    """[T, B, ...] through layers in turn; synapses see one frame at a time."""

    def __init__(self, **layers):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        for layer in self.children():
            flat = x.flatten(2) if isinstance(layer, nn.Linear) else x
            x = over_steps(flat, layer) if isinstance(layer, nn.Conv2d | nn.Linear) else layer(flat)
        return x.mean(0)


def layer_of(cost, name):
    [layer] = [layer for layer in cost.layers if layer.layer == name]
    return layer


class TestAKnownNetwork:
    """T = 2, one sample: conv 2→3 on 4×4, a neuron layer of 48 with 9 spikes, fully connected 48→5, neurons."""

    spikes = torch.zeros(2, 3, 4, 4)
    spikes[0, 0, 0, :] = 1
    spikes[1, :, 2, 1:3] = 1
    spikes[1, 0, 2, 1] = 0

    @pytest.fixture
    def frames(self):
        frames = torch.zeros(2, 1, 2, 4, 4)
        frames[0, 0, 0, 1, 1] = 1
        frames[1, 0, 1, 2, 2] = 1
        frames[1, 0, 1, 0, 0] = 1
        return frames

    @pytest.fixture
    def network(self):
        last = torch.tensor([[1.0, 0, 0, 0, 0], [1, 1, 0, 0, 0]])
        return Chain(
            conv=nn.Conv2d(2, 3, 3, padding=1),
            first=KnownSpikes(self.spikes),
            fc=nn.Linear(48, 5),
            second=KnownSpikes(last),
        )

    def test_spikes(self, network, frames):
        cost = measure(network, frames)
        assert layer_of(cost, "first").spikes_by_step == (4, 5)
        assert layer_of(cost, "first").neurons == 48
        assert layer_of(cost, "first").spikes == 9
        assert layer_of(cost, "first").firing_rate == 9 / (2 * 48)
        assert layer_of(cost, "second").spikes_by_step == (1, 2)
        assert cost.spikes_by_step == (5, 7)
        assert cost.spikes == 12
        assert cost.neurons == 53
        assert cost.firing_rate == 12 / (2 * 53)
        assert [layer.layer for layer in cost.neuron_layers] == ["first", "second"]

    def test_multiply_accumulates_and_energy(self, network, frames):
        cost = measure(network, frames)
        conv, fc = layer_of(cost, "conv"), layer_of(cost, "fc")
        assert conv.macs == 2 * 3**2 * 4 * 4 * 2 * 3
        assert conv.input_rate == 3 / 64
        assert conv.graded
        assert conv.energy == pytest.approx(4.6e-6 * 2 * 9 * 16 * 6 * 3 / 64)
        assert conv.synaptic_operations == (9 + 9 + 4) * 3
        assert fc.macs == 2 * 48 * 5
        assert fc.input_rate == 9 / 96
        assert not fc.graded
        assert fc.energy == pytest.approx(0.9e-6 * 2 * 48 * 5 * 9 / 96)
        assert fc.synaptic_operations == 9 * 5
        assert cost.energy == pytest.approx(conv.energy + fc.energy)
        assert cost.energy_paper == pytest.approx(cost.energy)

    def test_of_still_images_every_pixel_is_multiplied(self, network, frames):
        with torch.no_grad(), CostMeter(network, images=True) as meter:
            network(frames)
        conv, fc = layer_of(meter.cost(), "conv"), layer_of(meter.cost(), "fc")
        assert conv.input_rate == 1
        assert conv.energy == conv.energy_paper == pytest.approx(4.6e-6 * 2 * 9 * 16 * 6)
        assert conv.synaptic_operations == (9 + 9 + 4) * 3
        assert fc == layer_of(measure(network, frames), "fc")

    def test_two_samples_give_their_mean(self, network, frames):
        silent = torch.zeros_like(frames)
        cost = measure(network, torch.cat([frames, silent], 1))
        assert layer_of(cost, "conv").input_rate == 3 / 128
        assert layer_of(cost, "conv").synaptic_operations == 22 * 3 / 2
        assert layer_of(cost, "conv").macs == 2 * 9 * 16 * 6
        assert cost.spikes == 12

    def test_a_graded_input_is_charged_as_multiplications_and_by_the_paper_as_additions(self, network, frames):
        network.first = KnownSpikes(self.spikes / 2)
        cost = measure(network, frames)
        fc = layer_of(cost, "fc")
        assert fc.graded
        assert fc.energy == pytest.approx(4.6e-6 * 2 * 48 * 5 * 9 / 96)
        assert fc.energy_paper == pytest.approx(0.9e-6 * 2 * 48 * 5 * 9 / 96)
        assert layer_of(cost, "first").spikes == 9

    @pytest.mark.parametrize("value", [2.0, -1.0, 0.5])
    def test_one_graded_value_is_enough(self, network, frames, value):
        spikes = self.spikes.clone()
        spikes[0, 0, 0, 0] = value
        network.first = KnownSpikes(spikes)
        assert layer_of(measure(network, frames), "fc").graded

    def test_a_silent_input_costs_nothing(self, network, frames):
        network.first = KnownSpikes(self.spikes * 0)
        cost = measure(network, frames * 0)
        assert cost.energy == cost.energy_paper == cost.synaptic_operations == 0
        assert cost.macs == 2 * 9 * 16 * 6 + 2 * 48 * 5

    def test_attention_is_charged_for_both_of_its_terms(self, network, frames):
        site = Site("fc.input", "input", steps=2, channels=48, spatial=False)
        graded = Chain(
            conv=network.conv,
            first=network.first,
            attend=Attend(site, lambda _: Counted()),
            fc=network.fc,
            second=network.second,
        )
        graded.attend.register_forward_pre_hook(lambda _, inputs: (inputs[0].flatten(2),))
        cost = measure(graded, frames.repeat(1, 3, 1, 1, 1))
        attention = layer_of(cost, "fc.input")
        assert attention.kind == "attention"
        assert attention.macs == 1000 + 2 * 48
        assert attention.applying_macs == 2 * 48
        assert attention.energy == attention.energy_paper == pytest.approx((1000 + 96) * 4.6e-6)
        assert attention.synaptic_operations == 0
        assert layer_of(cost, "fc").graded
        assert cost.energy_paper == pytest.approx(measure(network, frames).energy_paper + attention.energy)
        assert cost.energy == pytest.approx(cost.energy_paper + layer_of(cost, "fc").macs * 9 / 96 * 3.7e-6)


def test_binary_frames_do_not_make_the_first_layer_cheap():
    cost = measure(Chain(conv=nn.Conv2d(1, 1, 1), neuron=LIF()), torch.ones(1, 1, 1, 2, 2))
    assert cost.energy == cost.energy_paper == pytest.approx(4 * 4.6e-6)


def test_attention_inside_a_neuron_is_counted_once_a_step_and_its_parameters_are_its_own():
    class Gate(Counted):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(7))

    def place(site):
        return Gate()

    site = Site("block1.membrane", "membrane", steps=1, channels=3, spatial=True)
    for neuron in (LIF, PLIF, snntorch_leaky):
        layer = neuron(membrane=Attend(site, place))
        cost = measure(Chain(conv=nn.Conv2d(2, 3, 1), neuron=layer), bits(6, 4, 2, 5, 5))
        attention = layer_of(cost, "block1.membrane")
        assert attention.kind == "attention"
        assert attention.macs == 6 * (1000 + 3)
        assert attention.applying_macs == 6 * 3
        assert attention.parameters == 7
        assert layer_of(cost, "neuron").parameters == sum(p.numel() for p in layer.parameters()) - 7
        assert layer_of(cost, "neuron").neurons == 75


def test_attention_that_does_not_say_its_cost_is_measured():
    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            return x * over_steps(x, self.conv)

    assert attention_macs(ThirdParty(4), (4, 3, 5, 5)) == AttentionMacs(weights=4 * 4, applying=4 * 3 * 5 * 5)
    assert attention_macs(ThirdParty(4), (4, 9)) == AttentionMacs(weights=4 * 4, applying=4 * 9)
    assert attention_macs(Smooth(), (3, 2, 5, 4)) == AttentionMacs(weights=3 * 9 * 20 * 2 * 2, applying=3 * 2 * 20)


def test_attention_that_does_not_say_its_cost_is_charged_for_what_was_measured():
    site = Site("fc.input", "input", steps=4, channels=6, spatial=False)
    network = Chain(attend=Attend(site, lambda _: ThirdParty(4)), fc=nn.Linear(6, 2), neuron=LIF())
    attention = layer_of(measure(network, bits(4, 3, 6), bits(4, 2, 6)), "fc.input")
    assert (attention.macs, attention.applying_macs) == (16 + 24, 24)
    assert attention.energy == pytest.approx(40 * 4.6e-6)
    assert attention.parameters == 16 + 8


def test_measuring_leaves_the_attention_as_it_was():
    module = ThirdParty(4)
    module.norm.running_mean += 1
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    attention_macs(module, (4, 3, 5, 5))
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_parameters_that_do_not_learn_are_not_counted():
    network = Chain(conv=nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), neuron=PLIF(), fc=nn.Linear(12, 2))
    frames = bits(2, 1, 2, 4, 4)
    assert measure(network, frames).parameters == (3 + 3 * 2 * 9 + 3) + 1 + (24 + 2)
    network.fc.requires_grad_(False)
    assert measure(network, frames).parameters == (3 + 3 * 2 * 9 + 3) + 1
