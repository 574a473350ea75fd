import random

import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import BACKBONES, NEURONS, OptionError, Placement, UnknownNameError, list_sites
from quietspike.core.conv3 import Conv3
from quietspike.core.errors import PluginError
from quietspike.core.networks import build_network, build_plugin, find_sites
from quietspike.core.neurons import LIF, PLIF
from quietspike.core.recipe import Recipe
from quietspike.core.training import train

SMALL = {"name": "conv3", "widths": [4, 4, 4], "hidden": [12]}


def weights_equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_equal_arguments_give_equal_weights_and_another_seed_gives_others(toy):
    arguments = (SMALL, {"name": "lif"}, None, toy)
    network = build_network(*arguments, 3)
    torch.rand(5)
    assert weights_equal(build_network(*arguments, 3), network)
    assert not weights_equal(build_network(*arguments, 4), network)


def test_global_generators_are_left_alone(toy):
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002 (it must not be used)
    build_network(SMALL, {"name": "lif"}, None, toy, 3)
    find_sites(SMALL, {"name": "lif"}, toy)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]  # noqa: NPY002


def test_shape_steps_and_classes_come_from_the_data_set(toy):
    network = build_network(SMALL, {"name": "lif"}, None, toy, 0)
    assert isinstance(network, Conv3)
    assert network.block1.conv.in_channels == 2
    assert network.fc1.linear.in_features == 4 * 2 * 2
    assert network.fc2.linear.out_features == 3
    assert network.block1.current.site.steps == 4


def test_every_layer_gets_its_own_neuron_with_the_options(toy):
    network = build_network(SMALL, {"name": "plif", "tau": 4.0, "threshold": 0.5}, None, toy, 0)
    neurons = [module for module in network.modules() if isinstance(module, PLIF)]
    assert len(set(neurons)) == 5
    assert all(torch.sigmoid(neuron.w).item() == pytest.approx(0.25) for neuron in neurons)
    assert all(neuron.threshold == 0.5 for neuron in neurons)


@pytest.mark.parametrize("neuron", NEURONS.names())
def test_every_neuron_can_be_placed_in(toy, neuron):
    placement = Placement({"block1.current": "tcsa", "block2.membrane": "ca", "fc1.current": "ta"})
    network = build_network(SMALL, {"name": neuron}, placement, toy, 0)
    assert len(find_sites(SMALL, {"name": neuron}, toy)) == 13
    assert list_sites(Conv3, neuron=NEURONS.get(neuron)) == list_sites(Conv3)
    assert network(torch.rand(4, 2, 2, 8, 8)).shape == (2, 3)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


def test_a_backbone_has_its_own_neurons_where_none_are_named(toy):
    def kinds(backbone, neuron):
        network = build_network(backbone, neuron, None, toy, 0)
        return {(type(module), module.threshold) for module in network.modules() if isinstance(module, LIF | PLIF)}

    residual = {"name": "sew_resnet18", "widths": [4, 4, 4, 4]}
    assert kinds(SMALL, None) == {(LIF, 0.3)}
    assert kinds(residual, None) == {(LIF, 1.0)}
    assert kinds(residual, {"name": "plif"}) == {(PLIF, 1.0)}
    assert find_sites(SMALL, None, toy) == find_sites(SMALL, {"name": "lif"}, toy)


def test_the_sites_are_those_of_the_network(toy):
    asked = []

    def record(site):
        asked.append(site)
        return nn.Identity()

    build_network(SMALL, {"name": "lif"}, record, toy, 0)
    assert find_sites(SMALL, {"name": "lif"}, toy) == asked
    assert len(asked) == 13


def test_a_backbone_may_hand_attention_to_its_neurons(toy, register):
    class Probe(nn.Module):
        def __init__(self, *, input_shape, steps, classes, attention=None, neuron=None):
            super().__init__()
            self.neuron = neuron(membrane=nn.Identity())

    register(BACKBONES, "probe", Probe)
    network = build_network({"name": "probe"}, {"name": "lif", "decay": 0.5}, None, toy, 0)
    assert isinstance(network.neuron.membrane, nn.Identity)
    assert network.neuron.decay == 0.5


@pytest.mark.parametrize(
    ("backbone", "neuron", "kind", "message"),
    [
        ({"name": "conv33"}, {"name": "lif"}, UnknownNameError, "backbones: no 'conv33'; did you mean 'conv3'?"),
        (SMALL, {"name": "lff"}, UnknownNameError, "neurons: no 'lff'; did you mean 'lif'?"),
        (
            {**SMALL, "width": [1, 2, 3]},
            {"name": "lif"},
            OptionError,
            "backbones: conv3: option: no 'width'; did you mean 'widths'?",
        ),
        (
            SMALL,
            {"name": "lif", "treshold": 1},
            OptionError,
            "neurons: lif: option: no 'treshold'; did you mean 'threshold'?",
        ),
        (
            SMALL,
            {"name": "lif", "surrogate": 1},
            UnknownNameError,
            "surrogate: no 1; there are: atan, fast_sigmoid, rectangular, sigmoid",
        ),
        (SMALL, {"name": "lif", "reset": 1}, UnknownNameError, "reset: no 1; there are: code, paper, subtract"),
        (
            SMALL,
            {"name": "snntorch_leaky", "reset": [1]},
            UnknownNameError,
            "reset: no [1]; there are: none, subtract, zero",
        ),
        (
            SMALL,
            {"name": "liaf", "activation": [1]},
            UnknownNameError,
            "activation: no [1]; there are: identity, relu, selu",
        ),
        (SMALL, {"name": "lif", "decay": 2}, PluginError, "neurons: lif: decay=2: must be a finite number from 0 to 1"),
        (
            {**SMALL, "steps": 9},
            {"name": "lif"},
            OptionError,
            "backbones: conv3: steps is no option; it follows from the rest of the experiment",
        ),
        (
            SMALL,
            {"name": "lif", "membrane": "ca"},
            OptionError,
            "neurons: lif: membrane is no option; it follows from the rest of the experiment",
        ),
    ],
)
def test_a_wrong_name_or_option_is_one_line(toy, backbone, neuron, kind, message):
    for build in (lambda: build_network(backbone, neuron, None, toy, 0), lambda: find_sites(backbone, neuron, toy)):
        with pytest.raises(kind) as caught:
            build()
        assert str(caught.value) == message


def test_a_site_that_there_is_not_is_found_before_anything_is_built(toy):
    with pytest.raises(UnknownNameError, match=r"^site: no 'block4.current'; did you mean 'block[123].current'\?$"):
        build_network(SMALL, {"name": "lif"}, Placement({"block4.current": "no such attention"}), toy, 0)


def test_what_a_plugin_refuses_is_labelled_with_its_name(register):
    def choosy(*, size=1):
        raise ValueError(f"size {size} is too small")

    register(NEURONS, "choosy", choosy)
    with pytest.raises(OptionError, match=r"^neurons: choosy: size 3 is too small$"):
        build_plugin(NEURONS, {"name": "choosy", "size": 3})


def test_attention_with_weights_of_any_rank_is_trained(toy, build):
    class Rank5(nn.Module):
        def __init__(self, site):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 1, site.channels, 1, 1))

        def forward(self, x):
            return self.weight * x

    network = build(lambda site: Rank5(site) if site.name == "block1.current" else nn.Identity())
    assert network.block1.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert len(list(train(network, toy, Recipe(epochs=1, batch_size=12), seed=0))) == 1
