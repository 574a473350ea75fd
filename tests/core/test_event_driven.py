"""Networks that run event-driven against the same networks as they are."""

import threading

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional

from quietspike.core import BACKBONES
from quietspike.core import event_layer as choice
from quietspike.core.deferred import Deferred
from quietspike.core.evaluation import evaluate
from quietspike.core.event_driven import event_driven
from quietspike.core.folding import Chain, Norm, Synapses
from quietspike.core.kernels import VARIABLE, reference
from quietspike.core.layers import SpikingConv
from quietspike.core.liaf import LIAF
from quietspike.core.metering import CostMeter
from quietspike.core.recipe import Recipe

from .conftest import bits, in_batches, measure

SMALL = {
    "conv3": {"widths": (4, 6, 5), "pools": (1, 2, 3), "hidden": (8,)},
    "conv5": {"widths": (4, 4, 4, 4, 4), "pools": (2, 2, 2, 2, 1), "hidden": (8,)},
    "plif5": {"channels": 4, "hidden": 8, "voters": 2},
    "ms_resnet18": {"widths": (4, 5, 6, 7)},
    "ms_resnet34": {"widths": (4, 5, 6, 7)},
    "ms_resnet104": {"widths": (4, 5, 6, 7)},
    "sew_resnet18": {"widths": (4, 5, 6, 7)},
}


def trained(name, *, steps=3, size=(35, 33), **options):
    """A network whose normalisations have learnt something, in float64."""
    torch.manual_seed(1)
    network = BACKBONES.get(name)(
        **{"input_shape": (2, *size), "steps": steps, "classes": 3, **SMALL.get(name, {}), **options}
    )
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0.1, 0.3)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 1)
    return network.double().eval()


def shown(network, frames):
    """Scores, and what they cost."""
    with torch.no_grad(), CostMeter(network) as meter:
        scores = network(frames)
    return scores, meter.cost()


def agree(network, frames):
    expected, cost = shown(network, frames)
    with event_driven(network, measure=False) as layers:
        scores, found = shown(network, frames)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
    assert found == cost
    return layers, cost


@pytest.mark.parametrize("name", BACKBONES.names())
def test_scores_spikes_and_costs_are_the_same(name):
    network = trained(name)
    layers, cost = agree(network, bits(3, 2, 2, 35, 33, rate=0.2).double())
    assert cost.spikes > 0
    synapses = [row.layer for row in cost.layers if row.kind == "synapse"]
    assert sorted(name for name, layer in layers.items() if layer.chosen) == sorted(synapses)


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (5, 1), (1, 3)])
def test_one_step_and_one_sample(steps, batch):
    network = trained("conv3", steps=steps, size=(9, 8))
    agree(network, bits(steps, batch, 2, 9, 8).double())
    agree(network, torch.zeros(steps, batch, 2, 9, 8, dtype=torch.float64))


@pytest.mark.parametrize("options", [{"norm": False, "fc_norm": False}, {"dropout": (0.1,) * 5}, {"neuron": LIAF}])
def test_other_layers_and_graded_spikes(options):
    agree(trained("conv3", size=(9, 9), **options), bits(3, 2, 2, 9, 9).double() * 3)


def test_attention_is_not_touched():
    class Gate(nn.Module):
        def __init__(self, site):
            super().__init__()
            self.conv = nn.Conv2d(site.channels, site.channels, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.conv(x.flatten(0, 1))).view_as(x)

    network = trained("conv3", size=(9, 9), attention=lambda site: Gate(site) if site.spatial else nn.Identity())
    layers, _ = agree(network, bits(3, 2, 2, 9, 9).double())
    assert list(layers) == ["block1.conv", "block2.conv", "block3.conv", "fc1.linear", "fc2.linear"]


@settings(max_examples=80)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    pool=st.integers(1, 4),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    norm=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_what_follows_a_convolution_folds_into_it(kernel, stride, pool, size, norm, bias, seed):
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, 5, kernel, stride, padding=kernel // 2, bias=bias).double()
    after = Norm(torch.randn(5), torch.rand(5), torch.randn(5), torch.randn(5), 1e-5) if norm else None
    if after is not None:
        after = Norm(*(tensor.double() for tensor in (after.mean, after.variance, after.weight, after.bias)), after.eps)
    chain = Chain(Synapses(layer.weight.detach(), layer.bias, layer.stride, layer.padding), after, pool)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    if min(chain.size(*size)) < 1:
        return
    with torch.no_grad():
        expected, folded = chain.dense(x), chain.folded()
        found = functional.conv2d(x, folded.weight, folded.bias, folded.stride, folded.padding)
    assert expected.shape[2:] == chain.size(*size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


# what stays as it is


def test_training_and_gradients_are_dense():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    with event_driven(network, measure=False) as layers:
        assert network(frames).requires_grad
        network.train()
        with torch.no_grad():
            network(frames)
        assert [layer.chosen for layer in layers.values()] == [None] * 5
        network.eval()
        with torch.no_grad():
            network(frames)
    assert all(layer.chosen for layer in layers.values())


@pytest.mark.parametrize("how", ["block", "environment"])
def test_it_is_off_where_kernels_are(how, monkeypatch):
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    with torch.no_grad(), event_driven(network, measure=False) as layers:
        if how == "block":
            with reference():
                network(frames)
        else:
            monkeypatch.setenv(VARIABLE, "reference")
            network(frames)
    assert not any(layer.chosen for layer in layers.values())


@pytest.mark.parametrize("options", [{"dilation": 2}, {"groups": 2}, {"padding": "same"}, {"padding_mode": "reflect"}])
def test_other_convolutions_stay_right(options):
    network = nn.Sequential(nn.Conv2d(2, 4, 3, **{"padding": 1, **options}), nn.ReLU()).double().eval()
    x = bits(3, 2, 8, 8).double()
    with torch.no_grad():
        expected = network(x)
        with event_driven(network, measure=False) as layers:
            torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)
    assert layers["0"].chosen is (True if "padding_mode" in options else None)


def test_other_numbers_stay_dense():
    network = trained("conv3", size=(8, 8)).bfloat16()
    with torch.no_grad(), event_driven(network, measure=False) as layers:
        network(bits(3, 2, 2, 8, 8).bfloat16())
    assert not any(layer.chosen for layer in layers.values())


def test_mistakes_are_torchs():
    layer = nn.Conv2d(2, 4, 3).eval()
    pooled = SpikingConv("block1", 1, (2, 3), None, LIAF, pool=4).eval()
    with torch.no_grad(), event_driven(nn.ModuleList([layer, pooled]), measure=False):
        for x in (torch.zeros(1, 3, 5, 5), torch.zeros(1, 2, 2, 2)):
            with pytest.raises(RuntimeError):
                layer(x)
        assert layer(torch.zeros(2, 5, 5)).shape == (4, 3, 3)
        with pytest.raises(RuntimeError, match="too small"):
            pooled(torch.zeros(1, 1, 2, 3, 3))


def test_nothing_is_left_after_an_exception():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    before = {name: set(vars(module)) for name, module in network.named_modules()}

    def fail(module, inputs, output):
        raise ZeroDivisionError

    handle = network.block3.norm.register_forward_hook(fail)
    with torch.no_grad(), event_driven(network, measure=False) as layers:
        with pytest.raises(ZeroDivisionError):
            network(frames)
        handle.remove()
        raised = {name: layer.chosen for name, layer in layers.items()}
    assert raised == {
        "block1.conv": True,
        "block2.conv": True,
        "block3.conv": None,
        "fc1.linear": None,
        "fc2.linear": None,
    }
    with torch.no_grad():
        network(frames)
    assert {name: layer.chosen for name, layer in layers.items()} == raised
    assert {name: set(vars(module)) for name, module in network.named_modules()} == before


def test_an_exception_ends_the_block_like_its_end():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    with pytest.raises(ZeroDivisionError), event_driven(network, measure=False) as layers:
        raise ZeroDivisionError
    with torch.no_grad():
        network(frames)
    assert not any(layer.chosen for layer in layers.values())


def test_it_can_be_entered_again_and_twice():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    for _ in range(2):
        agree(network, frames)
    with event_driven(network, measure=False):
        agree(network, frames)


def test_other_threads_run_dense():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()

    def elsewhere():
        with torch.no_grad():
            network(frames)

    with event_driven(network, measure=False) as layers:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert not any(layer.chosen for layer in layers.values())


def test_weights_and_statistics_may_change_meanwhile():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    with torch.no_grad(), event_driven(network, measure=False):
        network(frames)
        network.block1.conv.weight.mul_(-2)
        network.block2.norm.running_mean.add_(0.5)
        network.fc1.linear.bias.sub_(1)
        found = network(frames)
    torch.testing.assert_close(found, network(frames).detach(), rtol=0, atol=1e-9)


# what hooks see


def test_a_hook_that_reads_a_deferred_result_computes_it():
    network, frames = trained("conv3", size=(8, 8)), bits(3, 2, 2, 8, 8).double()
    seen = {}
    for name in ("conv", "norm"):
        module = getattr(network.block2, name)
        module.register_forward_hook(lambda m, inputs, out, name=name: seen.setdefault(name, []).append(out.sum()))
    with torch.no_grad():
        network(frames)
        with event_driven(network, measure=False):
            network(frames)
    for plain, found in seen.values():
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-8)


def test_a_deferred_result_says_what_it_is():
    chain = Chain(Synapses(torch.ones(4, 2, 3, 3), None, (1, 1), (1, 1)))
    x = torch.rand(2, 2, 6, 6)
    calls = []

    def compute(x, chain):
        calls.append(chain.pool)
        return chain.dense(x)

    y = Deferred.of(x, chain, compute)
    assert (y.shape, y.dim(), y.numel(), y.dtype) == ((2, 4, 6, 6), 4, 288, torch.float32)
    pooled = functional.avg_pool2d(y, 2)
    assert isinstance(pooled, Deferred)
    assert calls == []
    assert torch.equal(pooled + 0, functional.avg_pool2d(chain.dense(x), 2))
    assert torch.equal(torch.cat([y, y]), torch.cat([chain.dense(x)] * 2))
    assert calls == [2, 1, 1]
    for other in (functional.avg_pool2d(y, 3, 1), functional.avg_pool2d(y, 4, ceil_mode=True), y.relu()):
        assert not isinstance(other, Deferred)


# the choice


@pytest.mark.parametrize("faster", [False, True])
def test_what_was_faster_is_taken(faster, monkeypatch):
    network, frames = trained("conv3", size=(8, 8)), bits(3, 6, 2, 8, 8).double()
    expected, cost = shown(network, frames)
    asked = []
    monkeypatch.setattr(choice, "LEAST_MACS", 0)
    monkeypatch.setattr(choice, "is_faster", lambda one, other, x: asked.append(len(x)) or faster)
    with event_driven(network) as layers:
        for _ in range(2):
            scores, found = shown(network, frames)
            torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
            assert found == cost
    assert asked == [3, 3, 3, 18, 18]
    assert [layer.chosen for layer in layers.values()] == [faster] * 5


def test_both_ways_are_run_and_counted_once(monkeypatch):
    monkeypatch.setattr(choice, "LEAST_MACS", 0)
    network, frames = trained("conv3", size=(8, 8)), bits(3, 4, 2, 8, 8).double()
    _, cost = shown(network, frames)
    with event_driven(network) as layers:
        assert shown(network, frames)[1] == cost
    assert all(layer.chosen is not None for layer in layers.values())


def test_little_work_is_not_measured(monkeypatch):
    monkeypatch.setattr(choice, "is_faster", None)
    network, frames = trained("conv3", size=(8, 8)), bits(3, 4, 2, 8, 8).double()
    with torch.no_grad(), event_driven(network) as layers:
        network(frames)
    assert not any(layer.chosen for layer in layers.values())


def test_a_sample_is_spread_over_the_steps_and_lies_as_the_whole():
    x = torch.arange(20.0)[:, None, None, None].expand(20, 3, 4, 5)
    assert choice.sample(x)[:, 0, 0, 0].tolist() == [0, 8, 16]
    last = x.contiguous(memory_format=torch.channels_last)
    assert choice.sample(last).is_contiguous(memory_format=torch.channels_last)
    assert len(choice.sample(x[:7])) == 7


# with evaluate, and bit for bit


def test_evaluate_agrees_and_repeats_bitwise(build, toy):
    network, recipe, device = build(), Recipe(), torch.device("cpu")
    frames = bits(4, 6, 2, 8, 8)

    def run():
        return evaluate(network, in_batches(frames, 4, 2), recipe, device)

    plain = run()
    assert run() == plain
    with event_driven(network, measure=False):
        found = run()
        assert run() == found
    assert found.cost == plain.cost
    assert found.loss == pytest.approx(plain.loss, abs=1e-6)
    assert measure(network, frames).spikes == plain.cost.spikes
