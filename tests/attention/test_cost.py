"""Parameters and multiply-accumulates."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from quietspike.attention import ASA, ca, csa, none, sa, ta, tca, tcsa, tsa
from quietspike.core import AttentionMacs, Placement, Site

SHAPE = (6, 8, 9, 7)
SITE = Site("block1.current", "current", steps=6, channels=8, spatial=True)
TIME, CHANNELS, SPACE = {"temporal_reduction": 3}, {"channel_reduction": 4}, {"kernel": 5}
MODULES = {
    "ta": (1, lambda **form: ta(SITE, **TIME)),
    "ca": (1, lambda **form: ca(SITE, **CHANNELS, **form)),
    "sa": (1, lambda **form: sa(SITE, **SPACE, **form)),
    "tca": (2, lambda **form: tca(SITE, **TIME, **CHANNELS, **form)),
    "tsa": (2, lambda **form: tsa(SITE, **TIME, **SPACE, **form)),
    "csa": (2, lambda **form: csa(SITE, **CHANNELS, **SPACE, **form)),
    "tcsa": (3, lambda **form: tcsa(SITE, **TIME, **CHANNELS, **SPACE, **form)),
}


def counted(module, x):
    """Multiply-accumulates of the matrix products and convolutions of a forward pass, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() // 2


def parameters(module):
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_macs_of_the_weights_are_those_of_the_forward_pass(name, per_step):
    gates, build = MODULES[name]
    module = build(per_step=per_step)
    x = torch.rand(6, 1, *SHAPE[1:])
    assert module.macs(SHAPE) == AttentionMacs(weights=counted(module, x), applying=gates * 6 * 8 * 9 * 7)


def test_macs_of_the_weights_by_hand():
    # Width 2 of 6 and of 8: both branches, both layers. Then 9 x 7 places of two maps of 5 x 5, once or at each step.
    assert ta(SITE, **TIME).macs(SHAPE).weights == 2 * 2 * 6 * 2
    assert ca(SITE, **CHANNELS).macs(SHAPE).weights == 2 * 2 * 8 * 2
    assert ca(SITE, **CHANNELS, per_step=True).macs(SHAPE).weights == 6 * 2 * 2 * 8 * 2
    assert sa(SITE, **SPACE).macs(SHAPE).weights == 9 * 7 * 2 * 25
    assert sa(SITE, **SPACE, per_step=True).macs(SHAPE).weights == 6 * 9 * 7 * 2 * 25


def test_macs_of_a_fully_connected_layer():
    module = ta(Site("fc1.current", "current", steps=6, channels=8, spatial=False), **TIME)
    assert module.macs((6, 8)) == AttentionMacs(weights=counted(module, torch.rand(6, 1, 8)), applying=6 * 8)


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("trainable", [False, True])
def test_macs_of_asa(reduction, trainable):
    module = ASA(SITE, reduction=reduction, kernel=5, trainable_selection=trainable)
    along_time = 8 * (6 * 6 if reduction == 1 else 2 * 6 * 3)
    maps = 2 * 9 * 7 * 2 * 25
    assert counted(module, torch.rand(6, 1, *SHAPE[1:])) == along_time + maps
    # PyTorch counts no products of single numbers: alpha times the average, beta times the maximum.
    assert module.macs(SHAPE) == AttentionMacs(weights=along_time + maps + 2 * 6 * 8, applying=6 * 8 * 9 * 7)


def test_none_costs_nothing():
    assert none(SITE).macs(SHAPE) == AttentionMacs(0, 0)
    assert parameters(none(SITE)) == 0


@pytest.mark.parametrize(("name", "channels"), [("block1", 64), ("block2", 128), ("block3", 128)])
def test_parameters_in_the_papers_convolutions(name, channels):
    site = Site(f"{name}.current", "current", steps=60, channels=channels, spatial=True)
    time, channel, space = 1440, 2 * channels * channels // 8, 18
    assert parameters(ta(site)) == time
    assert parameters(ca(site)) == channel
    assert parameters(sa(site)) == space
    assert parameters(tca(site)) == time + channel
    assert parameters(tsa(site)) == time + space
    assert parameters(csa(site)) == channel + space
    assert parameters(tcsa(site)) == time + channel + space
    assert parameters(tcsa(site, per_step=True, relu=False)) == time + channel + space


@pytest.mark.parametrize("features", [256, 11])
def test_parameters_in_the_papers_fully_connected_layers(features):
    assert parameters(ta(Site("fc1.current", "current", steps=60, channels=features, spatial=False))) == 1440


def test_parameters_of_uniform_placements_in_the_papers_network():
    # The difference to the network without attention, as the authors' code has it.
    sites = [
        Site(f"block{i + 1}.current", "current", 60, channels, spatial=True)
        for i, channels in enumerate([64, 128, 128])
    ] + [Site(f"fc{i + 1}.current", "current", 60, features, spatial=False) for i, features in enumerate([256, 11])]
    added = {}
    for name in ("ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"):
        placement = Placement.uniform(name, sites)
        added[name] = sum(parameters(placement(site)) for site in sites)
    assert added == {
        "ta": 2331265 - 2324065,
        "ca": 2333281 - 2324065,
        "sa": 2324119 - 2324065,
        "tca": 2340481 - 2324065,
        "tsa": 2331319 - 2324065,
        "csa": 2333335 - 2324065,
        "tcsa": 2340535 - 2324065,
    }


def test_asa_counts_its_selection_only_where_it_learns():
    assert parameters(ASA(SITE)) == 2 * 18
    assert parameters(ASA(SITE, trainable_selection=True)) == 2 * 18 + 2 + 6 * 6
    assert parameters(ASA(SITE, reduction=2, trainable_selection=True)) == 2 * 18 + 2 + 2 * 6 * 3


def test_a_bottleneck_is_at_least_one_wide():
    narrow = Site("input", "input", steps=4, channels=2, spatial=True)
    assert parameters(tca(narrow)) == 2 * 4 * 1 + 2 * 2 * 1
    assert parameters(ASA(narrow, reduction=9, trainable_selection=True)) == 2 * 18 + 2 + 2 * 4 * 1
