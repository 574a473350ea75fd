import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from quietspike.core import OptionError, Site, list_sites
from quietspike.core.metering import CostMeter
from quietspike.core.neurons import LIF, PLIF
from quietspike.core.plif5 import PLIF5
from quietspike.core.surrogates import surrogate

SMALL = {"input_shape": (2, 38, 65), "steps": 4, "classes": 3, "channels": 6, "hidden": 20, "voters": 5}


def stepwise(network, frames, tau):
    """The same scores, one step of the whole network after the other, from torch's functions and its weights."""
    weights = network.state_dict()
    potentials, votes = {}, []

    def fire(layer, x):
        v = potentials.get(layer, torch.zeros_like(x))
        v = v + (x - v) / tau
        spikes = (v >= 1).to(x.dtype)
        potentials[layer] = v * (1 - spikes)
        return spikes

    def norm(layer, x):
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(weights[f"{layer}.norm.{name}"] for name in names))

    for frame in frames:
        x = frame
        for number in range(1, 6):
            layer = f"block{number}"
            x = fire(layer, norm(layer, functional.conv2d(x, weights[f"{layer}.conv.weight"], padding=1)))
            x = functional.max_pool2d(x, 2)
        x = fire("fc1", functional.linear(x.flatten(1), weights["fc1.linear.weight"]))
        x = fire("fc2", functional.linear(x, weights["fc2.linear.weight"]))
        votes.append(functional.avg_pool1d(x.unsqueeze(1), 5).squeeze(1))
    return torch.stack(votes).mean(0)


@pytest.mark.parametrize("tau", [2.0, 1.25])
def test_it_computes_what_its_description_says(tau):
    torch.manual_seed(0)
    network = PLIF5(**SMALL).double()
    frames = torch.rand(4, 3, 2, 38, 65, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("neuron.w"):
                parameter.fill_(-math.log(tau - 1))
            elif name.endswith("norm.weight") or "linear" in name:
                parameter.mul_(4)  # so that every layer fires
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics are then those of these frames
        network(frames)
        network.eval()
        scores = network(frames)
        torch.testing.assert_close(scores, stepwise(network, frames, tau), rtol=0, atol=1e-12)
    assert 0 < scores.mean() < 1
    assert scores.unique().numel() > 3


def test_it_has_the_papers_neurons():
    network = PLIF5(steps=1).eval()
    with torch.no_grad(), CostMeter(network) as meter:
        network(torch.zeros(1, 1, 2, 128, 128))
    layers = meter.cost().neuron_layers
    assert sum(layer.neurons for layer in layers if layer.layer.startswith("block")) == 2_793_472
    assert [layer.neurons for layer in layers[-2:]] == [512, 110]


def test_its_parameters():
    convolutions = 9 * 128 * (2 + 4 * 128) + 5 * (2 * 128 + 1)  # normalisation, and w of each neuron layer
    connected = 2048 * 512 + 512 * 110 + 2
    assert sum(parameter.numel() for parameter in PLIF5().parameters()) == convolutions + connected
    asa = PLIF5(fc_bias=True, dropout=0)
    assert sum(parameter.numel() for parameter in asa.parameters()) == convolutions + connected + 512 + 110


def test_daily_action_at_half_its_size_has_asa_snns_features():
    with torch.device("meta"):
        network = PLIF5(input_shape=(2, 130, 173), classes=12, steps=36)
    assert network.fc1.linear.in_features == 128 * 80 // 4


def test_its_sites():
    sites = {site.name: site for site in list_sites(PLIF5, **SMALL)}
    spatial = [f"block{n}.{signal}" for n in range(1, 6) for signal in ("input", "current", "membrane")]
    assert list(sites) == [*spatial, "fc1.current", "fc1.membrane", "fc2.current", "fc2.membrane"]
    assert sites["block2.input"] == Site("block2.input", "input", 4, 6, spatial=True)
    assert sites["fc2.current"] == Site("fc2.current", "current", 4, 15, spatial=False)


def test_its_input_sites_are_behind_the_pooling():
    seen = {}

    class Look(nn.Module):
        def __init__(self, site):
            super().__init__()
            self.name = site.name

        def forward(self, x):
            seen[self.name] = tuple(x.shape[3:])
            return x

    PLIF5(**SMALL, attention=Look)(torch.rand(4, 1, 2, 38, 65))
    assert [seen[f"block{n}.input"] for n in range(1, 6)] == [(38, 65), (19, 32), (9, 16), (4, 8), (2, 4)]
    assert [seen[f"block{n}.current"] for n in range(1, 6)] == [(38, 65), (19, 32), (9, 16), (4, 8), (2, 4)]


def test_dropout_acts_on_what_the_connected_layers_see():
    torch.manual_seed(0)
    network = PLIF5(**SMALL, dropout=0.5, neuron=LIF)
    seen = []
    for layer in (network.fc1, network.fc2):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(torch.rand(4, 8, 2, 38, 65))
    for given in seen:
        assert set(given.unique().tolist()) == {0, 2}
    network.eval()(torch.rand(4, 8, 2, 38, 65))
    assert set(seen[-1].unique().tolist()) == {0, 1}


class Ones(nn.Module):
    """Fires always."""

    def __init__(self, membrane=None):
        super().__init__()

    def forward(self, current):
        return torch.ones_like(current)


def test_what_is_dropped_is_dropped_at_all_steps_and_anew_for_each_layer_and_sample():
    torch.manual_seed(0)
    network = PLIF5(**{**SMALL, "hidden": 24}, dropout=0.5, neuron=Ones)
    seen = []
    for layer in (network.fc1, network.fc2):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(torch.rand(4, 8, 2, 38, 65))
    for given in seen:
        assert set(given.unique().tolist()) == {0, 2}
        assert torch.equal(given, given[:1].expand_as(given))
        assert not torch.equal(given[0, 0], given[0, 1])
    assert not torch.equal(seen[0][..., :12], seen[1][..., :12])


def test_its_neurons_are_the_papers_where_none_are_named():
    neurons = [module for module in PLIF5(**SMALL).modules() if isinstance(module, PLIF)]
    assert len(neurons) == 7
    for neuron in neurons:
        assert torch.sigmoid(neuron.w).item() == pytest.approx(1 / 2)
        assert (neuron.threshold, neuron.reset_value, neuron.detach_reset) == (1.0, 0.0, False)
        assert neuron.spike == surrogate("atan", 2.0)


def test_another_neuron_stands_everywhere():
    network = PLIF5(**SMALL, neuron=LIF)
    assert sum(isinstance(module, LIF) for module in network.modules()) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"input_shape": (2, 31, 64)},
            "input_shape=(2, 31, 64): five poolings by 2 need height and width of at least 32",
        ),
        ({"channels": 0}, "channels=0: must be a whole number of at least 1"),
        ({"voters": 2.5}, "voters=2.5: must be a whole number of at least 1"),
        ({"dropout": 1}, "dropout=1: must be a number from 0 to below 1"),
        ({"fc_bias": "no"}, "fc_bias='no': must be true or false"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        PLIF5(**{**SMALL, **options})
    assert str(caught.value) == message
