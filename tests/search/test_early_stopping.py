"""Rungs and ranks, by hand, by brute force, and against Optuna's sorting."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, example, given
from optuna.samplers.nsgaii._elite_population_selection_strategy import _crowding_distance_sort
from optuna.study._multi_objective import _fast_non_domination_rank
from optuna.trial import create_trial

from quietspike.search.early_stopping import crowding_distances, expect_values, find_rungs, is_foremost

BOTH = {"accuracy": "maximize", "spikes": "minimize"}
FINE = st.tuples(st.integers(0, 1000).map(lambda n: n / 1000), st.integers(1, 10**6).map(float))
COARSE = st.tuples(st.integers(0, 5).map(lambda n: n / 5), st.integers(1, 6).map(lambda n: 100.0 * n))
"""Accuracy and spikes, on a grid on which equals occur."""


def values(point):
    return dict(zip(BOTH, point, strict=True))


def goes_on(own, others, reduction=3):
    return is_foremost(values(own), [values(other) for other in others], BOTH, reduction)


def beats(one, other):
    return one != other and one[0] >= other[0] and one[1] <= other[1]


# rungs


@pytest.mark.parametrize(
    ("arguments", "rungs"),
    [
        ((10, 1, 3), (1, 3, 9)),
        ((9, 1, 3), (1, 3)),  # the last epoch is no rung: nothing is left to be saved
        ((30, 2, 2), (2, 4, 8, 16)),
        ((10, 4, 3), (4,)),
        ((1, 1, 3), ()),
        ((5, 5, 2), ()),
        ((3, 7, 2), ()),
    ],
)
def test_rungs(arguments, rungs):
    assert find_rungs(*arguments) == rungs


# ranks


@pytest.mark.parametrize("point", [(0.0, 1e6), (math.nan, 1.0), (None, None), (0.5, 0.0)])
def test_a_single_trial_goes_on(point):
    assert goes_on(point, [])


def test_by_hand():
    others = [(0.5, 300.0), (0.6, 500.0)]
    assert goes_on((0.6, 300.0), others)  # it dominates both
    assert goes_on((0.7, 600.0), others)  # an end of the front, as (0.5, 300) is
    assert goes_on((0.4, 100.0), others)  # the other end
    assert not goes_on((0.55, 400.0), others)  # between the ends
    assert not goes_on((0.5, 301.0), others)  # behind the front, though it has two ends alone


def test_by_hand_within_a_front():
    # of six two go on, but for the ends; decades: 2, 2.5, 3, 4, 5
    front = [(0.1, 1e2), (0.5, 1e3), (0.8, 1e4), (0.9, 1e5)]
    # (0.3, 10^2.5) has room (1/3 + 0.4/0.8), the ends are ahead of it
    assert not goes_on((0.3, 10**2.5), [*front, (0.1, 1e6)])
    # of nine three go on: behind the ends the one with most room: (0.5, 1e3) has (4 - 2.5)/3 + (0.8 - 0.3)/0.8,
    # (0.8, 1e4) has (5 - 3)/3 + (0.9 - 0.5)/0.8
    behind = [(0.05, 1e6)] * 3
    third = {(0.3, 10**2.5): 1 / 3 + 0.4 / 0.8, (0.5, 1e3): 1.5 / 3 + 0.5 / 0.8, (0.8, 1e4): 2 / 3 + 0.4 / 0.8}
    foremost = max(third, key=third.get)
    everyone = [*front, (0.3, 10**2.5)]
    assert foremost == (0.8, 1e4)
    for point in third:
        assert goes_on(point, [*(other for other in everyone if other != point), *behind, (0.04, 1e6)]) == (
            point == foremost
        )


def test_costs_count_by_decades():
    # by decades the middle one of these is (0.5, 1e3), alone between its neighbours; by number (0.7, 9e4) would be
    front = [(0.0, 1e1), (1.0, 1e5)]
    crowd = [(0.65, 7e4), (0.75, 8e4)]
    behind = [(0.0, 1e6)] * 4
    assert goes_on((0.5, 1e3), [*front, *crowd, *behind])


def test_of_equals_the_first_goes_on():
    assert not goes_on((0.1, 0.0), [(0.1, 0.0)])
    assert not goes_on((0.1, 0.0), [(0.1, 0.0)] * 2)
    assert goes_on((0.1, 0.0), [(0.1, 0.0)] + [(0.1, 5.0)] * 5)  # two of seven go on


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (0.9, math.nan), (0.9, math.inf), (None, 1.0)])
def test_what_is_not_finite_comes_last(bad):
    assert not goes_on(bad, [(0.0, 1e9)])
    assert goes_on((0.0, 1e9), [bad, bad])
    assert not goes_on(bad, [bad])


def test_a_network_that_never_spikes_is_an_end_and_not_everything():
    assert goes_on((0.1, 0.0), [(0.9, 100.0), (0.5, 10.0)])
    assert goes_on((0.9, 100.0), [(0.1, 0.0), (0.5, 10.0)])
    assert not goes_on((0.5, 10.0), [(0.1, 0.0), (0.9, 100.0)])


@given(st.lists(COARSE, max_size=30), st.integers(2, 5))
def test_who_dominates_all_others_goes_on(others, reduction):
    best = (1.1, 1.0)
    assert goes_on(best, others, reduction)
    if others:
        assert not goes_on((-0.1, 1e9), [*others, best], reduction) or len(others) >= 2 * reduction - 2


@given(st.lists(COARSE, min_size=1, max_size=30), COARSE, st.integers(2, 5))
@example([(0.2, 100.0), (0.2, 100.0), (0.4, 300.0)], (0.2, 100.0), 2)
def test_as_by_brute_force(others, own, reduction):
    """Fronts by peeling, room by Deb's procedure on the front's distinct points, written as loops."""
    assert goes_on(own, others, reduction) == (places_ahead(own, others) < max(1, (len(others) + 1) // reduction))


def places_ahead(own, others):
    left, ahead = [*others, own], 0
    while True:
        front = [p for p in left if not any(beats(other, p) for other in left)]
        if own in front:
            break
        ahead += len(front)
        left = [p for p in left if p not in front]
    distinct = sorted(set(front))
    room = dict.fromkeys(distinct, 0.0)
    for scale in (lambda p: p[0], lambda p: math.log10(p[1])):
        ranked = sorted(distinct, key=scale)
        if len(ranked) > 1:
            room[ranked[0]] = room[ranked[-1]] = math.inf
        for before, p, after in zip(ranked, ranked[1:], ranked[2:], strict=False):
            room[p] += (scale(after) - scale(before)) / (scale(ranked[-1]) - scale(ranked[0]))
    nearly = [p for p in distinct if p != own and math.isclose(room[p], room[own], rel_tol=1e-9)]
    assume(room[own] == math.inf or not nearly)  # where rounding would decide
    return ahead + sum(room[p] > room[own] for p in front) + others.count(own)


@given(st.lists(FINE, min_size=2, max_size=25, unique=True))
def test_fronts_are_those_of_optuna(points):
    """Whoever goes on is in a front that the admitted number reaches; whoever is stopped is not well inside of it."""
    losses = np.array([(-accuracy, spikes) for accuracy, spikes in points])
    ranks = _fast_non_domination_rank(losses)
    admitted = max(1, len(points) // 3)
    ahead, with_own = (ranks < ranks[-1]).sum(), (ranks <= ranks[-1]).sum()
    decision = goes_on(points[-1], points[:-1])
    if ahead >= admitted:
        assert not decision
    if with_own <= admitted:
        assert decision


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20, unique=True))
def test_room_is_ordered_as_by_optuna(points):
    ours = crowding_distances(np.array(points, dtype=float))
    order = [create_trial(values=[float(a), float(b)]) for a, b in points]
    for number, trial in enumerate(order):
        trial.number = number
    _crowding_distance_sort(order)
    theirs = [ours[trial.number] for trial in order]
    # an objective that is the same for all makes ends of two arbitrary points there, and of none here
    assume(all(len({p[i] for p in points}) == len(points) for i in range(2)))
    assert all(one >= other or math.isclose(one, other) for one, other in itertools.pairwise(theirs))


@given(st.lists(FINE, max_size=20), FINE, st.floats(0.3, 3), st.floats(1e-3, 1e3))
def test_a_power_of_a_cost_changes_no_decision(others, own, power, factor):
    """Decades are then stretched alike, so that even the room within a front keeps its order."""
    places = lambda f: [f(p) for p in [*others, own]]  # noqa: E731
    scaled = places(lambda p: (p[0], factor * p[1] ** power))
    assume(len(set(scaled)) == len(set(places(tuple))))
    assume(not crowded_alike(others, own))
    assert goes_on(scaled[-1], scaled[:-1]) == goes_on(own, others)


def crowded_alike(others, own):
    front = sorted({p for p in [*others, own] if not any(beats(q, p) for q in [*others, own])})
    room = crowding_distances(np.array([(a, math.log10(s)) for a, s in front])) if front else np.array([])
    finite = sorted(room[np.isfinite(room)])
    return own in front and any(math.isclose(a, b, rel_tol=1e-6) for a, b in itertools.pairwise(finite))


@given(st.lists(FINE, max_size=25), FINE)
def test_any_rising_scale_of_a_cost_changes_no_decision_but_within_a_front(others, own):
    everyone = [*others, own]
    ranks = _fast_non_domination_rank(np.array([(-a, s) for a, s in everyone]))
    admitted = max(1, len(everyone) // 3)
    assume((ranks < ranks[-1]).sum() >= admitted or (ranks <= ranks[-1]).sum() <= admitted)
    bent = [(a, math.atan(s / 1e5) + s / 1e9) for a, s in everyone]
    assert goes_on(bent[-1], bent[:-1]) == goes_on(own, others)


def test_any_number_of_objectives():
    three = {**BOTH, "latency": "minimize"}
    others = [{"accuracy": 0.5, "spikes": 100.0, "latency": 3.0}, {"accuracy": 0.6, "spikes": 90.0, "latency": 4.0}]
    assert is_foremost({"accuracy": 0.4, "spikes": 200.0, "latency": 1.0}, others, three, 3)
    assert not is_foremost({"accuracy": 0.4, "spikes": 200.0, "latency": 3.5}, others, three, 3)
    one = {"accuracy": "maximize"}
    alone = [{"accuracy": a / 10} for a in range(8)]
    assert [is_foremost({"accuracy": a}, alone, one, 3) for a in (0.8, 0.65, 0.55, 0.45)] == [True, True, True, False]


# what the sampler is told


def test_what_a_stopped_trial_would_have_come_to_by_hand():
    finished = [
        ({"accuracy": 0.3, "spikes": 1000.0}, {"accuracy": 0.7, "spikes": 2000.0}),  # + 0.4, 2 times
        ({"accuracy": 0.4, "spikes": 100.0}, {"accuracy": 0.6, "spikes": 800.0}),  # + 0.2, 8 times
    ]
    expected = expect_values({"accuracy": 0.2, "spikes": 500.0}, finished, BOTH)
    assert expected == pytest.approx({"accuracy": 0.5, "spikes": 2000.0})  # + 0.3, 4 times
    bounded = expect_values({"accuracy": 0.65, "spikes": 1.0}, finished, BOTH)
    assert bounded == pytest.approx({"accuracy": 0.7, "spikes": 800.0})  # no better than what was reached


def test_nothing_is_expected_before_anything_is_known():
    own = {"accuracy": 0.2, "spikes": 500.0}
    assert expect_values(own, [], BOTH) is None
    assert expect_values(own, [({"accuracy": None, "spikes": 1.0}, {"accuracy": 0.5, "spikes": 2.0})], BOTH) is None
    assert expect_values({"accuracy": None, "spikes": 1.0}, [(own, own)], BOTH) is None


def test_costs_of_zero_stay():
    finished = [({"accuracy": 0.3, "spikes": 0.0}, {"accuracy": 0.3, "spikes": 0.0})]
    assert expect_values({"accuracy": 0.1, "spikes": 0.0}, finished, BOTH) == {"accuracy": 0.1, "spikes": 0.0}


@given(COARSE, st.lists(st.tuples(COARSE, COARSE), min_size=1, max_size=6))
def test_what_is_expected_lies_within_what_was_reached(own, ended):
    expected = expect_values(values(own), [(values(a), values(b)) for a, b in ended], BOTH)
    assert expected["accuracy"] <= max(late[0] for _, late in ended)
    assert expected["spikes"] >= min(late[1] for _, late in ended)
