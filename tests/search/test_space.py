import itertools
import random
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given
from optuna.distributions import CategoricalDistribution

from quietspike.core import Choice, Placement, QuietspikeError, Site
from quietspike.search.config import check_experiment
from quietspike.search.design import Design
from quietspike.search.space import Space, open_space

SPATIAL = ["block1", "block2", "block3"]
CONNECTED = ["fc1", "fc2"]


@pytest.fixture
def open_tiny(tiny_data):
    return lambda **search: open_space(check_experiment(tiny_data(search=search)))


def refusal(call, **search):
    with pytest.raises(QuietspikeError) as caught:
        call(**search)
    assert "\n" not in str(caught.value)
    return str(caught.value)


words = st.text("abcd", min_size=1, max_size=3)
choices = st.builds(
    Choice, words, st.dictionaries(words, st.integers(0, 9), max_size=2).map(lambda o: tuple(sorted(o.items())))
)
spaces = st.builds(
    lambda chosen: Space(
        tuple(Site(name, "current", 4, 4, spatial=True) for name in chosen),
        {name: tuple(dict.fromkeys([Choice("none"), *choices])) for name, choices in chosen.items()},
        {},
    ),
    st.dictionaries(words, st.lists(choices, max_size=3), min_size=1, max_size=3),
)


@given(spaces, st.randoms())
def test_a_placement_comes_back_from_its_labels(space, pick):
    labels = {site: pick.choice(choices).label for site, choices in space.choices.items()}
    placement = space.design(labels).placement
    assert space.labels(Design(placement)) == labels
    assert all(placement.get(site, Choice("none")).label == label for site, label in labels.items())


@given(spaces)
def test_shuffled_gives_each_placement_once(space):
    everything = {
        Design(Placement(dict(zip(space.choices, chosen, strict=True))))
        for chosen in itertools.product(*space.choices.values())
    }
    for count in (space.size, space.size + 5):
        given = list(space.shuffled(3, count))
        assert len(given) == space.size == len(everything)
        assert set(given) == everything


@given(spaces, st.integers(0, 99), st.integers(0, 20), st.integers(0, 20))
def test_a_larger_count_goes_on_behind_the_same_beginning(space, seed, few, more):
    fewer, longer = sorted((few, few + more))
    assert list(space.shuffled(seed, fewer)) == list(space.shuffled(seed, longer))[: min(fewer, space.size)]


def test_each_order_is_as_likely_as_any_other():
    space = Space((), {"a": (Choice("x"), Choice("y"), Choice("z"))}, {})
    orders = Counter(tuple(p.label for p in space.shuffled(seed, 3)) for seed in range(3000))
    assert len(orders) == 6
    assert all(abs(count - 500) < 100 for count in orders.values())  # five deviations


def test_a_space_too_large_to_count_can_be_shuffled():
    space = Space((), {str(site): tuple(map(Choice, "abcdefgh")) for site in range(40)}, {})
    assert space.size == 8**40
    assert len(set(space.shuffled(0, 100))) == 100
    assert list(space.shuffled(0, 5)) != list(space.shuffled(1, 5))


def test_an_endless_space_ends_where_six_digits_do(open_tiny):
    space = open_tiny(candidates=["none"], settings={"neuron.threshold": {"low": 0.9985, "high": 0.9998}})
    assert space.size == float("inf")
    assert 1250 < len(set(space.shuffled(0, 2048))) <= 1301


def test_size_and_distributions(open_tiny):
    space = open_tiny()
    assert [site.name for site in space.sites if site.signal == "current"] == [
        f"{layer}.current" for layer in SPATIAL + CONNECTED
    ]
    assert list(space.choices) == [f"{layer}.current" for layer in SPATIAL + CONNECTED]
    assert space.size == 3**3 * 2**2
    assert space.distributions["block1.current"] == CategoricalDistribution(["none", "ta", "csa"])
    assert space.distributions["fc2.current"] == CategoricalDistribution(["none", "ta"])


def test_a_fully_connected_site_takes_the_temporal_part_of_each_candidate(open_tiny):
    space = open_tiny(candidates=["none", "ca", {"name": "tcsa", "temporal_reduction": 2, "kernel": 3}, "tsa"])
    assert [choice.label for choice in space.choices["fc1.current"]] == ["none", "ta(temporal_reduction=2)", "ta"]


def test_patterns_choose_the_sites(open_tiny):
    assert list(open_tiny(sites=["block*.current"]).choices) == [f"{layer}.current" for layer in SPATIAL]
    assert list(open_tiny(sites=["*.input"]).choices) == [f"{layer}.input" for layer in SPATIAL]
    assert list(open_tiny(sites=["fc1.current", "block2.[ic]*"]).choices) == [
        "block2.input",
        "block2.current",
        "fc1.current",
    ]
    assert list(open_tiny(sites=["fc1.current", "fc*.current"]).choices) == ["fc1.current", "fc2.current"]


def test_uniform_placements_stand_at_the_searched_sites_alone(open_tiny):
    space = open_tiny(sites=["block2.current", "fc1.current"])
    assert {label: placement.data for label, placement in space.uniform.items()} == {
        "none": {},
        "ta": {"block2.current": "ta", "fc1.current": "ta"},
        "csa": {"block2.current": "csa"},
    }


def test_uniform_everywhere_is_what_the_core_calls_uniform(open_tiny):
    space = open_tiny(candidates=["none", "ta", "csa", "tcsa"])
    for label, placement in space.uniform.items():
        assert placement == Placement.uniform(label, space.sites)


def test_variants_are_labelled_by_their_options(open_tiny):
    space = open_tiny(candidates=["none", {"name": "ca", "channel_reduction": [2, 4]}], sites=["block1.current"])
    assert list(space.uniform) == ["none", "ca(channel_reduction=2)", "ca(channel_reduction=4)"]
    design = space.design({"block1.current": "ca(channel_reduction=4)"})
    assert design.data == {"block1.current": {"name": "ca", "channel_reduction": 4}}


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (["block1.curent"], "search.sites: no 'block1.curent'; did you mean 'block1.current'?"),
        (["*.curent"], "search.sites: no '*.curent'; did you mean '*.current'?"),
        (["*.inputs"], "search.sites: no '*.inputs'; did you mean '*.input'?"),
        (["*.current", "fc3.current"], "search.sites: no 'fc3.current'; did you mean 'fc2.current'?"),
        (["zzz"], "search.sites: no 'zzz'; there are: *.current, *.input, *.membrane, block1.current, block1.input"),
        ([], "search.sites: empty; there is nothing to search"),
    ],
)
def test_a_pattern_without_a_site_is_refused(open_tiny, sites, message):
    assert refusal(open_tiny, sites=sites).startswith(message)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (["none", "tcas"], "attention: no 'tcas'; did you mean 'tcsa'?"),
        (["none", {"name": "ca", "chanel_reduction": 4}],
         "block1.current: ca: option: no 'chanel_reduction'; did you mean 'channel_reduction'?"),
        (["none", {"name": "ca", "channel_reduction": 0}], "block1.current: ca(channel_reduction=0): "),
        (["none", {"name": "sa", "kernel": 4}], "block1.current: sa(kernel=4): "),
        (["none", {"name": "ta", "temporal_reduction": "two"}], "block1.current: ta(temporal_reduction=two): "),
        ([{"name": "none", "kernel": 3}], "block1.current: none: option: no 'kernel'; there are: none"),
        ([], "search.candidates: empty; there is nothing to choose from"),
    ],
)  # fmt: skip
def test_a_bad_candidate_fails_before_anything_is_trained(open_tiny, candidates, message):
    assert refusal(open_tiny, candidates=candidates).startswith(message)


def test_a_candidate_is_built_at_the_site_where_it_fails(open_tiny, monkeypatch):
    from torch import nn

    from quietspike.core import ATTENTION

    def picky(site, temporal_reduction=2):
        if not site.spatial:
            raise ValueError("needs space")
        return nn.Identity()

    monkeypatch.setattr(ATTENTION, "_registered", {"ta": picky})
    assert open_tiny(candidates=["ta"], sites=["block*.current"]).size == 1
    assert refusal(open_tiny, candidates=["ta"]) == "fc1.current: ta: needs space"


def test_random_draws_of_the_space_are_placements_of_it(open_tiny):
    space = open_tiny()
    pick = random.Random(0)
    drawn = {site: pick.choice(distribution.choices) for site, distribution in space.distributions.items()}
    assert space.labels(space.design(drawn)) == drawn
