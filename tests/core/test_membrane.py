"""Attention at ``membrane`` sites: inside the neuron's step, on U, before it fires."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from quietspike.core import ATTENTION, NEURONS, OptionError, Placement, list_sites
from quietspike.core.conv3 import Conv3
from quietspike.core.layers import Attend
from quietspike.core.neurons import LIF
from quietspike.core.placement import fit_to_site

from .conftest import Counted, bits, measure

SMALL = {"input_shape": (2, 8, 8), "steps": 5, "classes": 3, "widths": (8, 8, 8), "hidden": (7,)}
PER_STEP = {"name": "csa", "channel_reduction": 2, "per_step": True, "kernel": 7, "relu": False}
TA = {"name": "ta", "relu": False}
RECOMMENDED = {f"block{n}.current": TA for n in (1, 2, 3)} | {f"block{n}.membrane": PER_STEP for n in (1, 2, 3)}


def small(placement=None, **options):
    torch.manual_seed(0)
    return Conv3(**{**SMALL, "attention": placement, **options})


def lively(placement, **options):
    """Gated three times, a fresh network would hardly fire."""
    network = small(placement, **options)
    with torch.no_grad():
        for layer in network.children():
            layer.norm.weight.fill_(4)
    return network


def stepwise(network, frames):
    """MA-SNN's recommended attention from torch's functions: TA on X, then CA and SA on U = H + X' of each step."""
    weights = network.state_dict()

    def mlp(pooled, prefix):
        hidden = functional.linear(pooled, weights[f"{prefix}.mlp.squeeze.weight"]).relu()
        return functional.linear(hidden, weights[f"{prefix}.mlp.expand.weight"])

    def gate_time(x, prefix):
        average, maximum = (mlp(pooled.T, prefix).T for pooled in (x.mean((2, 3, 4)), x.amax((2, 3, 4))))
        return (average + maximum).sigmoid()[:, :, None, None, None] * x

    def gate_potential(u, prefix):
        channels = (mlp(u.mean((2, 3)), f"{prefix}.channel") + mlp(u.amax((2, 3)), f"{prefix}.channel")).sigmoid()
        u = channels[:, :, None, None] * u
        pooled = torch.stack([u.mean(1), u.amax(1)], 1)
        return functional.conv2d(pooled, weights[f"{prefix}.spatial.conv.weight"], padding=3).sigmoid() * u

    def fire(current, gate):
        h, spikes = torch.zeros_like(current[0]), []
        for x in current:
            u = gate(h + x)
            s = (u >= 0.3).to(x.dtype)
            h = 0.3 * u * (1 - s)
            spikes.append(s)
        return torch.stack(spikes)

    x = frames
    for block, pool in zip(("block1", "block2", "block3"), (1, 2, 2), strict=True):
        layer = network.get_submodule(block)
        norm = layer.norm
        moments = norm.running_mean, norm.running_var
        normed = [functional.batch_norm(layer.conv(frame), *moments, norm.weight, norm.bias) for frame in x]
        current = torch.stack([functional.avg_pool2d(frame, pool) for frame in normed])
        current = gate_time(current, f"{block}.current.module.temporal")
        x = fire(current, lambda u, block=block: gate_potential(u, f"{block}.neuron.membrane.module"))
    x = x.flatten(2)
    for name in ("fc1", "fc2"):
        layer = network.get_submodule(name)
        x = fire(torch.stack([layer.norm(layer.linear(frame)) for frame in x]), lambda u: u)
    return x.mean(0)


def test_the_papers_recommended_attention_is_its_equations_step_by_step():
    network = lively(Placement(RECOMMENDED), hidden=(40,), classes=30).double()
    frames = 3 * torch.rand(5, 4, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        network(frames)
        network.eval()
        scores = network(frames)
        torch.testing.assert_close(scores, stepwise(network, frames), rtol=0, atol=1e-12)
    assert 0 < scores.mean() < 1


def test_the_papers_recommended_attention_trains():
    network = lively(Placement(RECOMMENDED), hidden=(40,))
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    functional.mse_loss(network(3 * torch.rand(5, 4, 2, 8, 8)), torch.eye(3)[[0, 1, 2, 0]]).backward()
    optimizer.step()
    changed = {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}
    for block in ("block1", "block2", "block3"):
        assert f"{block}.neuron.membrane.module.channel.mlp.squeeze.weight" in changed
        assert f"{block}.neuron.membrane.module.spatial.conv.weight" in changed


@pytest.mark.parametrize("neuron", NEURONS.names())
def test_every_neuron_takes_it(neuron):
    gated = lively(Placement({"block2.membrane": PER_STEP}), neuron=NEURONS.get(neuron))
    nn.init.constant_(gated.block2.norm.weight, 20)
    bare = lively(None, neuron=NEURONS.get(neuron))
    assert isinstance(gated.block2.neuron.membrane, Attend)
    bare.load_state_dict(gated.state_dict(), strict=False)
    frames = 3 * torch.rand(5, 2, 2, 8, 8)
    with torch.no_grad():
        seen = {network: network.block2(network.block1(frames)) for network in (gated, bare)}
    assert 0 < seen[gated].count_nonzero() < seen[gated].numel()
    assert not torch.equal(seen[gated], seen[bare])


@pytest.mark.parametrize("placement", [None, Placement(), Placement({"block2.membrane": "none"})])
def test_where_nothing_stands_the_neuron_gets_no_membrane(placement):
    asked = []

    def neuron(**options):
        asked.append(options)
        return LIF(**options)

    network = small(placement, neuron=neuron)
    assert asked == [{}] * 5
    assert [network.get_submodule(f"block{n}").neuron.membrane for n in (1, 2, 3)] == [None] * 3


TEMPORAL = ("ta", "tca", "tsa", "tcsa", "asa", "ta_snn", "tcja")


@pytest.mark.parametrize("temporal", TEMPORAL)
def test_temporal_attention_is_refused_there(temporal):
    with pytest.raises(OptionError) as caught:
        small(Placement({"block1.membrane": temporal}))
    reason = f"{temporal} needs more than one step; a membrane site shows one at a time"
    assert str(caught.value) == f"block1.membrane: {temporal}: {reason}"


@pytest.mark.parametrize("attention", sorted({*ATTENTION.names()} - {"none", *TEMPORAL}))
def test_every_other_attention_can_stand_there(attention):
    network = lively(Placement({"block2.membrane": attention}), neuron=partial(LIF, surrogate="sigmoid"))
    frames = 3 * torch.rand(5, 3, 2, 8, 8)
    network(frames).square().sum().backward()
    for parameter in network.block2.neuron.membrane.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    together = network.eval()(frames)
    torch.testing.assert_close(network(frames[:, 1:2]), together[1:2])


def test_a_uniform_placement_leaves_it_alone():
    assert not [site for site in Placement.uniform("tcsa", list_sites(Conv3)) if site.endswith("membrane")]


def test_a_fully_connected_layer_takes_no_part_of_an_attention_there():
    [site] = [site for site in list_sites(Conv3) if site.name == "fc1.membrane"]
    assert (site.steps, site.channels, site.spatial) == (1, 256, False)
    for attention in Placement.uniform("tcsa", list_sites(Conv3)).values():
        assert fit_to_site(attention, site).name == "none"


def test_its_cost_is_counted_at_every_step_and_not_as_the_neurons():
    gates = {"block1.membrane": 8, "fc1.membrane": 7}
    network = small(lambda site: Counted() if site.name in gates else nn.Identity())
    rows = {layer.layer: layer for layer in measure(network, bits(5, 2, 2, 8, 8)).layers}
    for name, channels in gates.items():  # called five times with one step: 1,000 each time
        assert (rows[name].kind, rows[name].macs, rows[name].applying_macs) == (
            "attention",
            5 * (1000 + channels),
            5 * channels,
        )
        assert rows[name].energy == pytest.approx(rows[name].macs * 4.6e-6)


def test_parameters_of_membrane_attention_are_those_of_its_site():
    network = small(Placement({"block1.membrane": PER_STEP}))
    cost = measure(network, bits(5, 1, 2, 8, 8))
    rows = {layer.layer: layer for layer in cost.layers}
    assert rows["block1.membrane"].parameters == 2 * 8 * 4 + 2 * 49
    assert rows["block1.neuron"].parameters == 0
    assert cost.parameters == sum(parameter.numel() for parameter in network.parameters())
    own = network.block1.neuron.membrane.module.macs((1, 8, 8, 8))
    assert (rows["block1.membrane"].macs, rows["block1.membrane"].applying_macs) == (5 * sum(own), 5 * own.applying)
