"""One network of all placements: what acts, what learns, what is drawn, and that it resumes."""

import dataclasses
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from quietspike.core import ATTENTION, Choice, OptionError, Placement, UnknownNameError
from quietspike.core.recipe import Recipe
from quietspike.core.supernet import Supernet, build_supernet
from quietspike.core.training import train

from .conftest import SMALL, assert_same, state, untimed

SITES = ("block1.current", "block2.current", "fc1.current")
RECIPE = Recipe(epochs=3, batch_size=12, learning_rate=0.01)


class Scale(nn.Module):
    """A learnt factor, as little as attention can be."""

    def __init__(self, site, *, start=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(start))

    def forward(self, x):
        return x * self.factor


@pytest.fixture(autouse=True)
def _attention(register):
    register(ATTENTION, "scale", Scale)


CHOICES = {
    "block1.current": (Choice("none"), Choice("scale"), Choice("scale", (("start", 0.5),))),
    "block2.current": (Choice("none"), Choice("scale"), Choice("scale", (("start", 0.5),))),
    "fc1.current": (Choice("none"), Choice("scale")),
}
UNIFORM = [Placement(), Placement(dict.fromkeys(SITES, "scale"))]


@pytest.fixture
def new(toy):
    def build(seed=0, backbone=SMALL, choices=CHOICES, **options):
        return build_supernet(backbone, {"name": "lif"}, choices, toy, seed, **{"kept": UNIFORM, **options})

    return build


def frames(batch=8):
    return (torch.rand(4, batch, 2, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def learns(supernet):
    """For each site, which candidates have a gradient."""
    found = {}
    for site, (_, candidates) in supernet._attends.items():
        parameters = [list(module.parameters()) for module in candidates.candidates]
        found[site] = [c.label for c, ps in zip(candidates.choices, parameters, strict=True) if ps and ps[0].grad]
    return found


def test_a_gradient_flows_to_what_acts_alone(new):
    half = {"name": "scale", "start": 0.5}
    supernet = new(kept=[Placement({"block1.current": half, "fc1.current": "scale"})], uniform=1.0).train()
    supernet(frames()).square().sum().backward()
    assert learns(supernet) == {
        "block1.current": ["scale(start=0.5)"],
        "block2.current": [],
        "fc1.current": ["scale"],
    }
    convolutions = [m for m in supernet.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.weight.grad is not None for conv in convolutions)


def test_in_parts_each_part_has_its_own_placement(new):
    supernet = new(parts=2, uniform=1.0).train()
    torch.manual_seed(3)
    whole = supernet(frames())
    drawn = []
    torch.manual_seed(3)
    for _ in range(2):
        assert torch.rand(()) < 1
        drawn.append(UNIFORM[int(torch.randint(2, ()))])
    separate = []
    for part, placement in zip(frames().chunk(2, 1), drawn, strict=True):
        with supernet.standing(placement) as network:
            separate.append(network(part))
    torch.testing.assert_close(whole, torch.cat(separate), rtol=0, atol=0)
    assert supernet(frames(3)).shape == (3, 3)  # one part: two would be too small to normalise


@given(st.integers(1, 40), st.integers(1, 40))
def test_each_part_has_at_least_two_samples(batch, parts):
    seen = []

    class Recorder(nn.Module):
        def forward(self, frames):
            seen.append(frames.shape[1])
            return frames[0, :, 0, 0]

    Supernet(Recorder(), parts=parts).train()(torch.zeros(1, batch, 1, 1, 1))
    assert sum(seen) == batch
    assert len(seen) == max(1, min(parts, batch // 2))
    assert min(seen) >= min(2, batch)


def test_what_stands_has_the_state_of_the_network_of_that_placement_and_gives_what_it_gives(toy, new, build):
    supernet = new()
    list(train(supernet, toy, RECIPE, seed=0))
    for placement in (*UNIFORM, Placement({"block2.current": {"name": "scale", "start": 0.5}})):
        alone = build(placement, seed=9).eval()
        with supernet.standing(placement) as network:
            alone.load_state_dict(network.state_dict())
            torch.testing.assert_close(network(frames()), alone(frames()), rtol=0, atol=0)
    assert [name for name in supernet.state_dict() if "candidates" in name]  # all is as before afterwards


def draws(supernet, count):
    return [supernet._draw() for _ in range(count)]


def test_a_deck_has_each_candidate_as_often_as_any_other(new):
    supernet = new(uniform=0.0)
    for _ in range(20):
        round_ = draws(supernet, 3)
        for site in SITES[:2]:
            assert Counter(p.get(site, Choice("none")).label for p in round_) == dict.fromkeys(
                ("none", "scale", "scale(start=0.5)"), 1
            )
        assert {p.get("fc1.current", Choice("none")).label for p in round_} == {"none", "scale"}
    met = {p.json for p in draws(supernet, 600)}
    assert len(met) == 3 * 3 * 2  # whatever stands at one site says nothing of the others


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_draws_are_of_the_kept_placements(new, share):
    supernet = new(kept=UNIFORM[:1], uniform=share)
    torch.manual_seed(0)
    count = draws(supernet, 2000).count(UNIFORM[0])
    expected = 2000 * (share + (1 - share) / 18)  # the deck deals it too
    assert abs(count - expected) <= 4 * (2000 * 0.25) ** 0.5 * (0 < share < 1 or share == 0)


def test_draws_begin_anew_with_an_epoch(new):
    supernet = new(uniform=0.2)
    drawn = []
    for spoilt in (0, 2):  # so many are drawn in the epoch before
        draws(supernet, spoilt)
        supernet.train()
        torch.manual_seed(1)
        drawn.append(draws(supernet, 10))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_resumes_to_bitwise_the_same_end(toy, new, optimizer, tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer)
    undisturbed, resumed = new(uniform=0.2, parts=2), new(seed=5, uniform=0.2, parts=2)
    rows = list(train(undisturbed, toy, recipe, seed=4))
    stopped = train(new(uniform=0.2, parts=2), toy, recipe, seed=4, checkpoint=tmp_path / "c")
    next(stopped)
    stopped.close()
    assert untimed(train(resumed, toy, recipe, seed=4, checkpoint=tmp_path / "c")) == untimed(rows)
    assert_same(state(resumed), state(undisturbed))


def test_mistakes_are_named(new):
    with pytest.raises(UnknownNameError, match=r"supernet: fc1.current: no 'scale.start=0.5.'"):
        new().choose(Placement({"fc1.current": {"name": "scale", "start": 0.5}}))
    with pytest.raises(UnknownNameError, match=r"no 'block3.current'"):
        new().choose(Placement({"block3.current": "scale"}))
    with pytest.raises(OptionError, match=r"uniform=1.5: must be a finite number from 0 to 1"):
        new(uniform=1.5)
    with pytest.raises(OptionError, match=r"supernet: block9.current: the backbone has no such site"):
        new(choices={**CHOICES, "block9.current": (Choice("none"),)})


def test_a_membrane_may_be_searched(toy, build):
    choices = {"block1.membrane": (Choice("none"), Choice("scale"))}
    supernet = build_supernet(SMALL, {"name": "lif"}, choices, toy, 0).eval()
    assert isinstance(supernet, Supernet)
    for placement in (Placement(), Placement({"block1.membrane": "scale"})):
        alone = build(placement).eval()
        with supernet.standing(placement) as network:
            alone.load_state_dict(network.state_dict())
            torch.testing.assert_close(network(frames()), alone(frames()))
