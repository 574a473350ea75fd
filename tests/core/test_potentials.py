import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from quietspike.core import DataError, Site
from quietspike.core.analyses import Histogram, potential_distributions
from quietspike.core.layers import Attend
from quietspike.core.liaf import LIAF
from quietspike.core.neurons import LIF

from .conftest import bits, in_batches, measure, state


class Halve(nn.Module):
    def forward(self, x):
        return x / 2


class OneLayer(nn.Module):
    """Attention at ``current``, then a neuron that may have its own."""

    def __init__(self, attention=None, neuron=None):
        super().__init__()
        self.current = Attend(Site("block1.current", "current", 3, 1, spatial=True), attention)
        self.block1 = nn.Module()
        self.block1.neuron = neuron or LIF(threshold=1.0, decay=0.5)

    def forward(self, frames):
        return self.block1.neuron(self.current(frames)).mean(0).flatten(1)


CURRENT = torch.tensor([0.75, 0.75, 0.5]).reshape(3, 1, 1, 1, 1)


def distributions(network, frames=CURRENT, *sizes):
    found = potential_distributions(network, in_batches(frames, *sizes))
    return {(d.layer, d.signal, d.when): d for d in found}


def values(distribution):
    """The left edges of the bins, as often as they hold a value."""
    histogram = distribution.histogram
    return histogram.edges[:-1].repeat_interleave(histogram.counts).tolist()


# what is gathered


def test_the_potential_is_what_is_left_and_what_comes():
    shown = distributions(OneLayer())
    assert list(shown) == [("block1", "current", "before"), ("block1", "membrane", "before")]
    potential = shown["block1", "membrane", "before"]
    assert values(potential) == [0.5, 0.75, 1.125]  # fires at the second step, and starts from 0
    assert (potential.threshold, potential.firing) == (1.0, pytest.approx(1 / 3))
    assert values(shown["block1", "current", "before"]) == [0.5, 0.75, 0.75]


def test_attention_at_the_current_is_seen_on_both_sides():
    shown = distributions(OneLayer(lambda site: Halve()))
    assert values(shown["block1", "current", "before"]) == [0.5, 0.75, 0.75]
    assert values(shown["block1", "current", "after"]) == [0.25, 0.375, 0.375]
    assert values(shown["block1", "membrane", "before"]) == [0.375, 0.53125, 0.5625]
    assert shown["block1", "membrane", "before"].firing == 0
    assert ("block1", "membrane", "after") not in shown


def test_attention_at_the_membrane_is_seen_on_both_sides():
    shown = distributions(OneLayer(neuron=LIF(threshold=1.0, decay=0.5, membrane=Halve())))
    # U = 0.75 → 0.375; 0.1875 + 0.75 = 0.9375 → 0.46875; 0.234375 + 0.5 = 0.734375 → 0.3671875
    assert values(shown["block1", "membrane", "before"]) == pytest.approx([0.734375, 0.75, 0.9375], abs=2 / 512)
    assert values(shown["block1", "membrane", "after"]) == pytest.approx([0.3671875, 0.375, 0.46875], abs=1 / 512)


def test_attention_inside_a_neuron_is_not_gathered_twice():
    inner = Attend(Site("block1.membrane", "membrane", 1, 1, spatial=True), lambda site: Halve())
    shown = distributions(OneLayer(neuron=LIF(membrane=inner)))
    assert [key[1:] for key in shown] == [("current", "before"), ("membrane", "before"), ("membrane", "after")]
    assert shown["block1", "membrane", "before"].histogram.total == 3


@pytest.mark.parametrize("neuron", ["lif", "plif", "snntorch_leaky"])
def test_the_share_over_the_threshold_is_the_firing_rate(build, neuron):
    network, frames = build(lambda site: Halve(), neuron), 2 * bits(4, 6, 2, 8, 8)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)):
        nn.init.constant_(norm.weight, 20)
        nn.init.constant_(norm.bias, 4)
    cost = measure(network, frames)
    shown = distributions(network, frames, 4, 2)
    for layer in cost.neuron_layers:
        assert 0 < layer.firing_rate < 1
        potential = shown[layer.layer.removesuffix(".neuron"), "membrane", "after"]
        assert potential.histogram.total == layer.neurons * frames.shape[0] * frames.shape[1]
        assert potential.firing == pytest.approx(layer.firing_rate)


@pytest.mark.parametrize(("surrogate", "rate"), [("atan", 2 / 3), ("snntorch.atan", 1 / 3)])
def test_a_potential_equal_to_the_threshold_fires_where_the_neuron_does(surrogate, rate):
    network = OneLayer(neuron=LIF(threshold=0.75, decay=0.5, surrogate=surrogate))
    shown = distributions(network)["block1", "membrane", "before"]
    assert (shown.firing, shown.histogram.total) == (pytest.approx(rate), 3)
    assert network(CURRENT).tolist() == [[pytest.approx(rate)]]


def test_of_graded_values_it_is_the_rate_of_the_spikes_inside():
    network = OneLayer(neuron=LIAF(threshold=1.0, decay=0.5))
    shown = distributions(network)["block1", "membrane", "before"]
    assert values(shown) == [0.5, 0.75, 1.125]  # all three are sent; the second step's spike resets
    assert shown.firing == pytest.approx(1 / 3)


def test_the_network_is_left_as_it_was(build):
    network, inner = build(), Halve()
    network.block2.neuron.membrane = inner
    network.train()
    before, parts = state(network), list(network.named_modules())
    distributions(network, bits(4, 2, 2, 8, 8))
    assert network.block1.neuron.membrane is None
    assert network.block2.neuron.membrane is inner
    assert list(network.named_modules()) == parts
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(network).items())
    assert all(module.training and not module._forward_hooks for module in network.modules())


class Hidden(nn.Module):
    """A neuron without a ``membrane``."""

    def forward(self, current):
        return current

    def step(self, current, state):
        return current, current


def test_a_neuron_that_hides_its_potential_is_left_out():
    assert list(distributions(OneLayer(neuron=Hidden()))) == [("block1", "current", "before")]


class Over(nn.Module):
    def forward(self, x):
        return 1 / (x - 0.75)


def test_what_is_not_finite_is_refused_where_it_is():
    with pytest.raises(DataError, match=r"^frames: a value is not finite$"):
        distributions(OneLayer(), CURRENT / 0)
    with pytest.raises(DataError, match=r"^block1.current: a value is not finite$"):
        distributions(OneLayer(lambda site: Over()))
    with pytest.raises(DataError, match=r"^block1.neuron: a value is not finite$"):
        distributions(OneLayer(neuron=LIF(membrane=Over())))


def test_no_sample_is_refused(build):
    with pytest.raises(DataError, match="no sample"):
        potential_distributions(build(), [])


# the histogram

NUMBERS = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50)


@given(NUMBERS, st.integers(1, 50))
def test_a_histogram_is_numpys_on_its_own_grid(numbers, cut):
    histogram, tensor = Histogram(), torch.tensor(numbers)
    histogram.add(tensor[:cut])
    histogram.add(tensor[cut:])
    largest = tensor.abs().max()
    assert histogram.limit > largest
    assert histogram.limit <= 2 * largest or largest < 2**-20
    expected, _ = np.histogram(tensor.double().numpy(), histogram.edges.numpy())
    assert histogram.counts.tolist() == expected.tolist()
    assert float((histogram.density * histogram.width).sum()) == pytest.approx(1)
    assert histogram.mean == pytest.approx(np.mean(numbers, dtype=np.float64), rel=1e-9, abs=1e-9)
    assert histogram.deviation == pytest.approx(np.std(np.array(numbers, dtype=np.float64)), rel=1e-9, abs=1e-9)


def test_the_deviation_of_numbers_far_from_0_is_theirs():
    histogram = Histogram()
    for half in torch.tensor([[1e9, 1e9 + 1], [1e9 + 1, 1e9 + 2]], dtype=torch.float64):
        histogram.add(half)
    assert (histogram.mean, histogram.deviation) == (1e9 + 1, pytest.approx(0.5**0.5))


def test_an_empty_histogram_has_no_mean():
    histogram = Histogram()
    histogram.add(torch.zeros(0))
    assert np.isnan(histogram.mean)
    assert np.isnan(histogram.deviation)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_in_no_bin(bad):
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(torch.tensor([1.0, bad]))


def test_an_input_is_gathered_where_there_is_attention(build):
    shown = distributions(
        build(lambda site: Halve() if site.name == "block2.input" else nn.Identity()), bits(4, 2, 2, 8, 8)
    )
    inputs = [key for key in shown if key[1] == "input"]
    assert inputs == [("block2", "input", "before"), ("block2", "input", "after")]
