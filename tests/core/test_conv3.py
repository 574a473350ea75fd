import pytest
import torch
from torch import nn
from torch.nn import functional

from quietspike.core import OptionError, Placement, Site, list_sites
from quietspike.core.conv3 import Conv3
from quietspike.core.metering import CostMeter

# DVS128 Gesture: T = 60, c_ratio 8, t_ratio 5, kernel 3
PARAMETERS = {
    "none": 2_324_065,
    "ta": 2_331_265,
    "ca": 2_333_281,
    "sa": 2_324_119,
    "tca": 2_340_481,
    "tsa": 2_331_319,
    "csa": 2_333_335,
    "tcsa": 2_340_535,
}
SMALL = {"input_shape": (2, 8, 8), "steps": 5, "classes": 3, "widths": (4, 6, 5), "hidden": (7,)}


def parameters_of(network):
    return sum(parameter.numel() for parameter in network.parameters())


def reference_scores(network, frames, pools):
    """The same network from torch's functions and its weights."""
    weights = network.state_dict()

    def norm(x, layer):
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(weights[f"{layer}.norm.{name}"] for name in names))

    def fire(current):
        h, spikes = torch.zeros_like(current[0]), []
        for x in current:
            u = h + x
            s = (u >= 0.3).to(x.dtype)
            h = 0.3 * u * (1 - s)
            spikes.append(s)
        return torch.stack(spikes)

    x = frames
    for number, pool in enumerate(pools, 1):
        layer = f"block{number}"
        conv = [
            functional.conv2d(f, weights[f"{layer}.conv.weight"], weights[f"{layer}.conv.bias"], padding=1) for f in x
        ]
        x = fire(torch.stack([functional.avg_pool2d(norm(f, layer), pool) for f in conv]))
    x = x.flatten(2)
    for layer in ("fc1", "fc2"):
        linear = [functional.linear(f, weights[f"{layer}.linear.weight"], weights[f"{layer}.linear.bias"]) for f in x]
        x = fire(torch.stack([norm(f, layer) for f in linear]))
    return x.mean(0)


def test_it_has_the_size_of_the_papers_network():
    assert parameters_of(Conv3()) == PARAMETERS["none"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_variant_of_the_attention_has_the_references_size(name):
    with torch.device("meta"):
        network = Conv3(attention=Placement.uniform(name, list_sites(Conv3)))
    assert parameters_of(network) == PARAMETERS[name]


@pytest.mark.parametrize(("classes", "neurons"), [(11, 106_763), (20, 106_772)])
def test_it_has_the_papers_neurons(classes, neurons):
    network = Conv3(steps=2, classes=classes).eval()
    with torch.no_grad(), CostMeter(network) as meter:
        network(torch.zeros(2, 1, 2, 32, 32))
    assert meter.cost().neurons == neurons


def test_spikes_are_the_firing_rate_times_neurons_and_steps():
    network = Conv3(**SMALL).eval()
    with torch.no_grad(), CostMeter(network) as meter:
        network(3 * torch.rand(5, 2, 2, 8, 8))
    cost = meter.cost()
    assert cost.spikes > 0
    assert cost.spikes == pytest.approx(cost.firing_rate * cost.neurons * 5)


def test_normalisation_can_be_left_out():
    connected = 2 * (256 + 11)
    assert parameters_of(Conv3(fc_norm=False)) == PARAMETERS["none"] - connected
    assert parameters_of(Conv3(fc_norm=False, norm=False)) == PARAMETERS["none"] - connected - 2 * (64 + 128 + 128)


def test_its_sites_are_those_of_its_layers():
    spatial = [
        Site(f"block{number}.{signal}", signal, steps, channels, spatial=True)
        for number, (into, out) in enumerate([(2, 64), (64, 128), (128, 128)], 1)
        for signal, steps, channels in (("input", 60, into), ("current", 60, out), ("membrane", 1, out))
    ]
    connected = [
        Site(f"fc{number}.{signal}", signal, steps, width, spatial=False)
        for number, width in enumerate([256, 11], 1)
        for signal, steps in (("current", 60), ("membrane", 1))
    ]
    assert list_sites(Conv3) == spatial + connected


@pytest.mark.parametrize("pools", [(1, 2, 2), (2, 1, 3), (1, 1, 1)])
def test_it_computes_what_its_description_says(pools):
    torch.manual_seed(0)
    network = Conv3(**{**SMALL, "hidden": (20,), "classes": 30}, pools=pools).double()
    frames = torch.rand(5, 4, 2, 8, 8, dtype=torch.float64) * 3
    network(frames)  # so that the statistics are not those of a fresh network
    network.eval()
    scores = network(frames)
    assert torch.equal(scores, reference_scores(network, frames, pools))
    assert 0 < scores.mean() < 1


def test_pooling_comes_after_normalisation():
    torch.manual_seed(0)
    network = Conv3(**SMALL, pools=(2, 1, 1))
    frames = torch.rand(5, 4, 2, 8, 8)
    variance = network.block1.conv(frames.flatten(0, 1)).var((0, 2, 3))
    network(frames)
    torch.testing.assert_close(network.block1.norm.running_var, 0.9 + 0.1 * variance)


def test_attention_stands_before_the_convolution_before_the_neuron_and_inside_it():
    seen = {}

    class Look(nn.Module):
        def __init__(self, site):
            super().__init__()
            self.site = site

        def forward(self, x):
            seen[self.site.name] = tuple(x.shape)
            return x

    Conv3(**SMALL, pools=(2, 1, 3), attention=Look)(torch.rand(5, 4, 2, 8, 8))
    assert seen == {
        "block1.input": (5, 4, 2, 8, 8),
        "block1.current": (5, 4, 4, 4, 4),
        "block1.membrane": (1, 4, 4, 4, 4),
        "block2.input": (5, 4, 4, 4, 4),
        "block2.current": (5, 4, 6, 4, 4),
        "block2.membrane": (1, 4, 6, 4, 4),
        "block3.input": (5, 4, 6, 4, 4),
        "block3.current": (5, 4, 5, 1, 1),
        "block3.membrane": (1, 4, 5, 1, 1),
        "fc1.current": (5, 4, 7),
        "fc1.membrane": (1, 4, 7),
        "fc2.current": (5, 4, 3),
        "fc2.membrane": (1, 4, 3),
    }


@pytest.mark.parametrize("site", ["block1.current", "block3.input", "block2.membrane", "fc1.current", "fc2.membrane"])
def test_what_attention_gives_is_used(site):
    torch.manual_seed(0)

    class Flood(nn.Module):
        def forward(self, x):
            return x * 0 + 100

    network = Conv3(**SMALL, attention=lambda place: Flood() if place.name == site else nn.Identity()).eval()
    frames = torch.rand(5, 2, 2, 8, 8)
    assert torch.equal(network(frames), network(5 * frames))


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 3), (4, 1)])
def test_one_step_and_one_sample_work(steps, batch):
    network = Conv3(**{**SMALL, "steps": steps}).eval()
    assert network(torch.rand(steps, batch, 2, 8, 8)).shape == (batch, 3)


def test_there_are_as_many_convolutions_as_widths():
    names = [site.name for site in list_sites(Conv3, widths=(4, 5), pools=(2, 2)) if site.signal == "current"]
    assert names == ["block1.current", "block2.current", "fc1.current", "fc2.current"]


def test_more_and_fewer_hidden_layers():
    assert [site.name for site in list_sites(Conv3, hidden=())][-2:] == ["fc1.current", "fc1.membrane"]
    assert [site.channels for site in list_sites(Conv3, hidden=(9, 8))][-6:] == [9, 9, 8, 8, 11, 11]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (4, 4)}, "pools=(1, 2, 2): must be a list of 2 whole numbers of at least 1"),
        ({"widths": 4}, "widths=4: must be a list of whole numbers of at least 1"),
        ({"pools": (1, 2, 2, 2)}, "pools=(1, 2, 2, 2): must be a list of 3 whole numbers of at least 1"),
        ({"pools": (4, 4, 1)}, "pools=[4, 4, 1]: nothing is left of an input of 8×8"),
        ({"pools": (0, 1, 1)}, "pools=(0, 1, 1): must be a list of 3 whole numbers of at least 1"),
        ({"widths": (4, -1, 4)}, "widths=(4, -1, 4): must be a list of whole numbers of at least 1"),
        ({"widths": [4.5, 4, 4]}, "widths=[4.5, 4, 4]: must be a list of whole numbers of at least 1"),
        ({"hidden": 8}, "hidden=8: must be a list of whole numbers of at least 1"),
        ({"hidden": "8"}, "hidden='8': must be a list of whole numbers of at least 1"),
        ({"norm": "false"}, "norm='false': must be true or false"),
        ({"hidden": (0,)}, "hidden=(0,): must be a list of whole numbers of at least 1"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        Conv3(**{**SMALL, **options})
    assert str(caught.value) == message
