import pytest
import torch

from quietspike.core import OptionError, list_sites
from quietspike.core.conv3 import conv5
from quietspike.core.metering import CostMeter

SMALL = {"input_shape": (2, 16, 16), "steps": 3, "classes": 4, "widths": (3, 4, 5, 6, 7), "pools": (2, 2, 1, 2, 2)}


def neurons_of(network, frames):
    with torch.no_grad(), CostMeter(network.eval()) as meter:
        network(frames)
    return meter.cost().neurons


def test_it_has_the_size_of_the_codes_network():
    pairs = [(2, 32), (32, 64), (64, 128), (128, 256), (256, 512)]
    convolutions = sum(9 * into * out + 3 * out for into, out in pairs)
    connected = sum(into * out + 3 * out for into, out in [(2048, 256), (256, 21)])
    assert sum(parameter.numel() for parameter in conv5().parameters()) == convolutions + connected


@pytest.mark.parametrize(("classes", "neurons"), [(21, 248_085), (10, 248_074)])
def test_its_neurons(classes, neurons):
    # 32·64² + 64·32² + 128·16² + 256·8² + 512·2² + 256 + classes
    assert neurons_of(conv5(steps=1, classes=classes), torch.zeros(1, 1, 2, 128, 128)) == neurons


def test_its_sites():
    names = [site.name for site in list_sites(conv5)]
    spatial = [f"block{n}.{signal}" for n in range(1, 6) for signal in ("input", "current", "membrane")]
    assert names == [*spatial, "fc1.current", "fc1.membrane", "fc2.current", "fc2.membrane"]


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (4, 3)])
def test_it_takes_any_number_of_steps_and_any_size(steps, batch):
    network = conv5(**{**SMALL, "steps": steps, "input_shape": (3, 17, 31)}).eval()
    assert network(torch.rand(steps, batch, 3, 17, 31)).shape == (batch, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (2, 15, 15)}, "pools=[2, 2, 1, 2, 2]: nothing is left of an input of 15×15"),
        ({"widths": (4, 4, 4)}, "pools=(2, 2, 1, 2, 2): must be a list of 3 whole numbers of at least 1"),
        ({"input_shape": (2, 16)}, "input_shape=(2, 16): must be a list of 3 whole numbers of at least 1"),
        ({"steps": 0}, "steps=0: must be a whole number of at least 1"),
        ({"classes": 0}, "classes=0: must be a whole number of at least 1"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        conv5(**{**SMALL, **options})
    assert str(caught.value) == message
