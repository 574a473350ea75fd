"""In what designs differ, as the sampler gp sees them."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from quietspike.core import Placement
from quietspike.search import aspects
from quietspike.search.aspects import Map, find_aspects
from quietspike.search.design import Design
from quietspike.search.space import open_space

MA = ["none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"]


def places(kind):
    aspects = find_aspects("x", kind)
    return [tuple(aspect.place(choice) for aspect in aspects) for choice in kind.choices]


def test_each_attention_of_ma_snn_is_the_dimensions_that_it_weighs():
    expected = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert places(CategoricalDistribution(MA)) == expected


def test_a_fully_connected_site_differs_in_time_alone():
    assert places(CategoricalDistribution(["none", "ta"])) == [(0,), (1,)]


def test_what_names_do_not_tell_is_an_aspect_of_its_own():
    labels = ["none", "ca(channel_reduction=4)", "ca(channel_reduction=8)", "simam", "ata", "asa"]
    kinds = places(CategoricalDistribution(labels))
    assert [kind[0] for kind in kinds] == [0, 1, 1, 0, 0, 0]
    assert len(set(kinds)) == len(labels)


def test_numbers_lie_between_their_ends_by_decades_where_their_range_does():
    for kind, value, place in [
        (FloatDistribution(0.0, 2.0), 0.5, 0.25),
        (FloatDistribution(1e-4, 1e-2, log=True), 1e-3, 0.5),
        (IntDistribution(2, 10), 4, 0.25),
    ]:
        [aspect] = find_aspects("x", kind)
        assert aspect.ordered
        assert aspect.place(value) == pytest.approx(place)
    assert find_aspects("x", IntDistribution(3, 3)) == find_aspects("x", CategoricalDistribution(["ta"])) == []


def test_distances_are_how_many_dimensions_differ_and_where(tiny_experiment):
    experiment = tiny_experiment(search={"candidates": MA, "sites": ["block1.current", "fc1.current"]})
    known = Map(open_space(experiment), 0)
    none, mixed = Design(Placement()), Design(Placement({"block1.current": "tcsa", "fc1.current": "ta"}))
    places = known.locate([none, mixed])
    distances = known.distances(places, places)
    assert distances.shape == (4, 2, 2)
    np.testing.assert_array_equal(distances, np.broadcast_to(1 - np.eye(2), (4, 2, 2)))


def test_neighbours_differ_in_one_parameter(tiny_experiment):
    space = open_space(tiny_experiment(search={"candidates": MA, "sites": ["block1.current", "fc1.current"]}))
    mixed = Design(Placement({"block1.current": "tcsa", "fc1.current": "ta"}))
    near = Map(space, 0).neighbours(mixed, np.random.default_rng(0))
    assert len(near) == len(set(near)) == 7 + 1
    for design in near:
        ours, theirs = space.params(design), space.params(mixed)
        assert sum(ours[name] != theirs[name] for name in ours) == 1


def test_neighbours_in_a_range_are_drawn_each_time_and_others_are_kept(tiny_experiment):
    ranged = {"candidates": MA, "settings": {"train.learning_rate": {"low": 0.001, "high": 0.1}}}
    for search, kept in (({"candidates": MA}, True), (ranged, False)):
        space = open_space(tiny_experiment(search=search))
        designs, generator = Map(space, 0), np.random.default_rng(0)
        asked = next(iter(designs.designs))
        first, second = (designs.neighbours(asked, generator) for _ in range(2))
        assert (first is second) is (first == second) is kept


def test_of_a_large_space_some_are_looked_at(tiny_experiment, monkeypatch):
    space = open_space(tiny_experiment(search={"candidates": MA, "sites": ["*.current"]}))
    assert len(set(Map(space, 0).designs)) == space.size == 8**3 * 2**2
    monkeypatch.setattr(aspects, "ENUMERATED", 100)
    assert len(set(Map(space, 0).designs)) == 100
