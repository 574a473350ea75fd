import pytest
import torch
from torch.nn import functional

from quietspike.core import OptionError, Placement, list_sites
from quietspike.core.metering import CostMeter
from quietspike.core.neurons import LIF
from quietspike.core.sew_resnet import SEWResNet18
from quietspike.core.surrogates import surrogate

SMALL = {"input_shape": (2, 32, 32), "steps": 4, "classes": 3, "widths": (4, 5, 6, 7)}


def stepwise(network, frames):
    """The same scores, one step of the whole network after the other, from torch's functions and its weights."""
    weights = network.state_dict()
    potentials, sums = {}, []

    def layer(name, x, stride=1):
        kernel = weights[f"{name}.conv.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        names = ("running_mean", "running_var", "weight", "bias")
        x = functional.batch_norm(x, *(weights[f"{name}.norm.{part}"] for part in names))
        v = potentials.get(name, 0) + x
        spikes = (v >= 1).to(x.dtype)
        potentials[name] = v * (1 - spikes)
        return spikes

    for frame in frames:
        x = functional.max_pool2d(layer("stem", frame, 2), 3, 2, 1)
        for stage in (1, 2, 3, 4):
            for number in (1, 2):
                name = f"stage{stage}.block{number}"
                stride = 2 if stage > 1 and number == 1 else 1
                out = layer(f"{name}.conv2", layer(f"{name}.conv1", x, stride))
                x = out + (layer(f"{name}.shortcut", x, stride) if stride == 2 else x)
        sums.append(x.mean((2, 3)))
    return functional.linear(torch.stack(sums).mean(0), weights["fc.weight"], weights["fc.bias"])


def test_it_computes_what_its_description_says():
    torch.manual_seed(0)
    network = SEWResNet18(**SMALL).double()
    frames = 2 * torch.rand(4, 3, 2, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        network(frames)
        network.eval()
        scores = network(frames)
        torch.testing.assert_close(scores, stepwise(network, frames), rtol=0, atol=1e-12)
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_it_has_the_parameters_of_a_residual_network_of_18_layers():
    with torch.device("meta"):
        network = SEWResNet18()
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512


def test_its_neurons_are_its_papers_where_none_are_named():
    neurons = [module for module in SEWResNet18(**SMALL).modules() if isinstance(module, LIF)]
    assert len(neurons) == 1 + 2 * 8 + 3
    for neuron in neurons:
        assert (type(neuron), neuron.threshold, neuron.decay) == (LIF, 1.0, 1.0)
        assert (neuron.reset, neuron.reset_value, neuron.detach_reset) == ("code", 0.0, True)
        assert neuron.spike == surrogate("atan", 2.0)


def test_its_sites():
    sites = [site.name for site in list_sites(SEWResNet18, **SMALL)]
    layers = ["stem"]
    for stage in (1, 2, 3, 4):
        for number in (1, 2):
            parts = ["conv1", "conv2", *(["shortcut"] if stage > 1 and number == 1 else []), "sum"]
            layers += [f"stage{stage}.block{number}.{part}" for part in parts]
    signals = ("input", "current", "membrane")
    expected = [[name] if name.endswith("sum") else [f"{name}.{signal}" for signal in signals] for name in layers]
    assert sites == [name for names in expected for name in names]
    uniform = Placement.uniform("csa", list_sites(SEWResNet18, **SMALL))
    assert sorted(uniform) == sorted(f"{name}.current" for name in layers if not name.endswith("sum"))


def test_sums_of_spikes_are_graded():
    torch.manual_seed(0)
    network = SEWResNet18(**SMALL)
    network(2 * torch.rand(4, 8, 2, 32, 32))
    with torch.no_grad(), CostMeter(network.eval()) as meter:
        network(2 * torch.rand(4, 2, 2, 32, 32))
    rows = {layer.layer: layer for layer in meter.cost().layers if layer.kind == "synapse"}
    assert not rows["stage1.block1.conv1.conv"].graded
    assert rows["stage1.block2.conv1.conv"].graded
    assert rows["stage2.block1.shortcut.conv"].graded
    assert not [name for name, row in rows.items() if name.endswith("conv2.conv") and row.graded]


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (33, 50)])
def test_it_takes_any_size(size):
    network = SEWResNet18(**{**SMALL, "input_shape": (2, *size)}).eval()
    assert network(torch.rand(4, 1, 2, *size)).shape == (1, 3)


def test_what_makes_no_network_is_refused():
    with pytest.raises(OptionError, match=r"^widths=\(4, 4\): must be a list of 4 whole numbers of at least 1$"):
        SEWResNet18(**{**SMALL, "widths": (4, 4)})
