"""Scores with shared weights: those of the network that stands alone, whatever was scored before."""

import random

import pytest
import torch
from torch import nn

from quietspike.core import ATTENTION, Choice, OptionError, Placement, Site
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.layers import Attend
from quietspike.core.metering import CostMeter
from quietspike.core.networks import build_network, find_sites
from quietspike.core.placement import fit_to_site
from quietspike.core.recipe import Recipe
from quietspike.core.shared_weights import Scorer, recalibrate
from quietspike.core.sharing import SharedParts
from quietspike.core.supernet import build_supernet
from quietspike.core.training import train

from .conftest import SMALL

RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=0.01)
BACKBONES_TRIED = {
    "conv3": SMALL,
    "dropout": {**SMALL, "dropout": [0.1, 0.1, 0.1, 0.1, 0.1]},
    "sew_resnet18": {"name": "sew_resnet18", "widths": [4, 4, 8, 8]},
}


class Normed(nn.Module):
    """Attention with a normalisation, and no account of its own cost."""

    def __init__(self, site, *, bias=0.0):
        super().__init__()
        self.mix = nn.Linear(site.channels, site.channels)
        self.norm = nn.BatchNorm1d(site.channels)
        self.bias = bias

    def forward(self, x):
        pooled = x.flatten(3).mean(3) if x.dim() > 3 else x
        gate = torch.sigmoid(self.norm(self.mix(pooled).flatten(0, 1)) + self.bias).reshape(*pooled.shape)
        return x * gate.reshape(*gate.shape, *[1] * (x.dim() - 3))


@pytest.fixture(autouse=True)
def _attention(register):
    register(ATTENTION, "normed", Normed)


def scored(toy, backbone, **options):
    """A trained supernet with its scorer, and placements of it."""
    candidates = [Choice("none"), Choice("normed"), Choice("normed", (("bias", 1.0),)), Choice("ta")]
    sites = [site for site in find_sites(backbone, None, toy) if site.signal == "current"][:5]
    choices = {site.name: tuple(dict.fromkeys(fit_to_site(c, site) for c in candidates)) for site in sites}
    supernet = build_supernet(backbone, None, choices, toy, 0)
    list(train(supernet, toy, RECIPE, seed=0))
    drawn = random.Random(0)
    placements = [Placement({site: drawn.choice(cs) for site, cs in choices.items()}) for _ in range(4)]
    return supernet, Scorer(supernet, toy, RECIPE, seed=3, calibration=2, **options), [*placements, placements[0]]


def alone(toy, backbone, supernet, placement, calibration):
    """The same by building the network of the placement and measuring it as a training measures one."""
    network = build_network(backbone, None, placement, toy, seed=7)
    with supernet.standing(placement) as standing:
        network.load_state_dict(standing.state_dict())
    recalibrate(network, calibration, RECIPE)
    validation = Batches(toy.split("validation"), RECIPE.batch_size)
    return evaluate(network, validation.epoch(), RECIPE, torch.device("cpu"))


@pytest.mark.parametrize("name", BACKBONES_TRIED)
def test_a_score_is_that_of_the_network_alone(toy, name):
    backbone = BACKBONES_TRIED[name]
    supernet, scorer, placements = scored(toy, backbone)
    for placement in placements:
        expected = alone(toy, backbone, supernet, placement, scorer._calibration)
        shown = scorer.score(placement)
        assert shown == expected  # accuracy, loss, and the cost layer by layer
        assert shown.cost.totals == expected.cost.totals
        assert shown.cost.spikes > 0


def test_work_is_shared_and_what_is_kept_is_bounded(toy, monkeypatch):
    supernet, scorer, placements = scored(toy, SMALL)
    ran = []
    supernet.network.block1.conv.register_forward_hook(lambda *_: ran.append("block1"))
    ordered = sorted(placements, key=lambda p: p.get("block1.current", Choice("none")).label)
    shown = {placement: scorer.score(placement) for placement in ordered}
    beginnings = {p.get("block1.current", Choice("none")) for p in ordered}
    batches = len(scorer._calibration) + len(scorer._validation)
    assert len(ran) == len(beginnings) * batches
    assert len(beginnings) < len(set(ordered))
    nothing_kept = SharedParts(supernet.network, limit=0)
    monkeypatch.setattr(scorer, "_parts", nothing_kept)
    assert {placement: scorer.score(placement) for placement in ordered} == shown
    assert len(nothing_kept._kept) == 0
    assert nothing_kept._held == 0


class Twice(nn.Module):
    """Calls one child twice, and another with what it made itself."""

    def __init__(self, network):
        super().__init__()
        self.gate = nn.Tanh()
        self.network = network

    def forward(self, frames):
        return self.gate(self.network(self.gate(self.gate(frames)) * 1.0))


def test_a_child_that_runs_twice_is_never_shared(toy, build):
    network = Twice(build())
    parts = SharedParts(network, limit=2**20)
    frames = torch.rand(4, 3, 2, 8, 8)
    expected = network.eval()(frames)
    for _ in range(2):
        meter = CostMeter(network)
        with parts.sharing(Placement(), meter), meter:
            torch.testing.assert_close(network(frames), expected, rtol=0, atol=0)
    assert len(parts._kept) == 0
    assert "forward" not in vars(network.gate)


class InPlace(nn.Module):
    """Three parts, of which the second has attention; what the first gave is added to, or written to by the second."""

    def __init__(self, *, adds):
        super().__init__()
        self.first, self.third = nn.Tanh(), nn.Tanh()
        self.second = Attend(Site("second.current", "current", 4, 2, spatial=True), None)
        self.adds = adds

    def forward(self, frames):
        x = self.first(frames)
        if self.adds:
            x += self.second(x)
            return self.third(x)
        return self.third(self.second(x))


class Written(nn.Module):
    def forward(self, x):
        return x.mul_(0.5)


@pytest.mark.parametrize("adds", [True, False])
def test_what_is_written_to_is_never_shared(adds):
    network = InPlace(adds=adds)
    parts = SharedParts(network, limit=2**20)
    frames = torch.rand(4, 3, 2, 8, 8)
    for module in (nn.Identity(), nn.Tanh(), *([] if adds else [Written()]), nn.Sigmoid(), nn.Identity()):
        network.second.module = module
        expected = network(frames)
        meter = CostMeter(network)
        with parts.sharing(Placement({"second.current": type(module).__name__}), meter), meter:
            torch.testing.assert_close(network(frames), expected, rtol=0, atol=0)


def interrupt(*_):
    raise KeyboardInterrupt


def test_what_is_broken_off_is_not_kept(toy, build):
    network = build()
    parts = SharedParts(network, limit=2**20)
    network.fc2.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), parts.sharing(Placement(), CostMeter(network)):
        network(torch.rand(4, 3, 2, 8, 8))
    assert len(parts._kept) == 0
    assert "forward" not in vars(network.block1)


def test_statistics_are_the_means_over_batches(build, toy):
    network = build(norm=True)
    batches = [frames for frames, _ in Batches(toy.split("train"), 8).epoch()]
    recalibrate(network, batches, RECIPE)
    inputs = [network.block1.conv(frames.flatten(0, 1)) for frames in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    variance = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs]).mean(0)
    torch.testing.assert_close(network.block1.norm.running_mean, mean)
    torch.testing.assert_close(network.block1.norm.running_var, variance)
    assert network.block1.norm.momentum == 0.1
    again = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recalibrate(network, batches, RECIPE)
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())


def test_it_may_be_shown_some_samples(toy):
    _, scorer, placements = scored(toy, SMALL, samples=5)
    assert sum(len(labels) for _, labels in scorer._validation) == 5
    shown = scorer.score(placements[0])
    assert shown.accuracy * 5 == pytest.approx(round(shown.accuracy * 5))
    with pytest.raises(OptionError, match="samples=0"):
        scored(toy, SMALL, samples=0)
