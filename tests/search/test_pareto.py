import itertools
import math
import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from optuna._hypervolume import compute_hypervolume

from quietspike.core import Placement
from quietspike.search import pareto
from quietspike.search.design import Design
from quietspike.search.goals import Goals
from quietspike.search.pareto import (
    MOST_DECADES,
    confirmed_front,
    dominates,
    find_front,
    foremost,
    hypervolume,
    most_telling,
)
from quietspike.search.results import Confirmation, Outcome, TrialResult

figures = st.tuples(st.integers(0, 10).map(lambda n: n / 10), st.integers(1, 12).map(lambda n: 100.0 * n))
"""Accuracy and spikes, on a coarse grid so that equals occur."""

REFERENCE = (0.1, 1e4)
SPIKES = Goals(reference=REFERENCE)


def trials_of(points):
    return [
        TrialResult(n, Design(Placement()), Outcome(a, {"spikes": s, "energy": -s})) for n, (a, s) in enumerate(points)
    ]


def points_of(trials):
    return [(trial.outcome.accuracy, trial.outcome.totals["spikes"]) for trial in trials]


def beats(one, other):
    return one != other and one[0] >= other[0] and one[1] <= other[1]


@given(st.lists(figures, max_size=25))
@example([])
@example([(0.5, 100.0)] * 3)
def test_the_front_is_what_no_other_dominates(points):
    front = find_front(trials_of(points), SPIKES)
    wanted = {p for p in points if not any(beats(other, p) for other in points)}
    assert set(points_of(front)) == wanted
    assert len(front) == len(wanted)  # of equals one
    assert [trial.number for trial in front] == [points.index(p) for p in points_of(front)]  # the first
    costs = [cost for _, cost in points_of(front)]
    assert costs == sorted(costs)


def test_the_front_is_of_the_asked_objective_and_without_failures():
    trials = [*trials_of([(0.5, 100.0), (0.5, 200.0)]), TrialResult(2, Design(Placement()), Outcome.failed("NaN"))]
    assert [t.number for t in find_front(trials, SPIKES)] == [0]
    assert [t.number for t in find_front(trials, Goals(("energy",)))] == [1]
    assert find_front(trials[2:], SPIKES) == []


def test_hypervolume_by_hand():
    # above accuracy 0.1 and below 10,000: 0.4 wide down to 100 (two decades), 0.4 more down to 1,000 (one decade)
    assert hypervolume([(0.5, 100.0), (0.9, 1000.0)], REFERENCE) == pytest.approx(0.4 * 2 + 0.4 * 1)
    assert hypervolume([(0.9, 1000.0), (0.2, 2000.0)], REFERENCE) == pytest.approx(0.8)  # the second is dominated
    assert hypervolume([(0.1, 10.0), (0.05, 1.0), (1.0, 1e4), (1.0, 2e4)], REFERENCE) == 0  # none betters both
    assert hypervolume([], REFERENCE) == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1e-3, 1e6)), max_size=12))
def test_hypervolume_is_that_of_optuna(points):
    losses = np.array([(-accuracy, math.log10(cost)) for accuracy, cost in points]).reshape(-1, 2)
    reference = np.array([-REFERENCE[0], math.log10(REFERENCE[1])])
    inside = losses[(losses < reference).all(axis=1)]
    expected = compute_hypervolume(inside, reference) if len(inside) else 0.0
    assert hypervolume(points, REFERENCE) == pytest.approx(expected, abs=1e-9)


@given(st.lists(figures, max_size=8), figures)
def test_hypervolume_never_falls_with_another_point(points, another):
    assert hypervolume([*points, another], REFERENCE) >= hypervolume(points, REFERENCE)


def test_a_network_that_never_spikes_is_not_infinitely_good():
    assert hypervolume([(0.2, 0.0)], (0.1, 1e6)) == pytest.approx(0.1 * MOST_DECADES)
    assert hypervolume([(0.2, 1e-300)], (0.1, 1e6)) == pytest.approx(0.1 * MOST_DECADES)
    chosen = most_telling(trials_of([(0.1, 0.0), (0.9, 1000.0)]), Goals(reference=(0.0, 1e6)), 1)
    assert points_of(chosen) == [(0.9, 1000.0)]


@given(st.lists(figures, max_size=8), st.integers(1, 9))
def test_the_most_telling_are_distinct_and_as_many_as_asked_for(points, count):
    front = find_front(trials_of(points), SPIKES)
    chosen = most_telling(front, SPIKES, count)
    assert len(chosen) == min(count, len(front))
    assert len({t.number for t in chosen}) == len(chosen)
    assert {t.number for t in chosen} <= {t.number for t in front}
    assert front == find_front(front, SPIKES)  # untouched


@given(st.lists(figures, min_size=1, max_size=8), st.integers(1, 4))
def test_the_most_telling_dominate_nearly_as_much_as_any_so_many(points, count):
    front = find_front(trials_of(points), SPIKES)
    ours = hypervolume(points_of(most_telling(front, SPIKES, count)), REFERENCE)
    every = itertools.combinations(points_of(front), min(count, len(front)))
    best = max(hypervolume(some, REFERENCE) for some in every)
    assert ours >= (1 - 1 / math.e) * best - 1e-12  # greedy choice of a submodular measure
    if count == 1:
        assert ours == pytest.approx(best)


def test_the_most_telling_begin_with_the_one_that_dominates_most():
    front = find_front(trials_of([(0.3, 100.0), (0.8, 200.0), (0.82, 1000.0)]), SPIKES)
    assert points_of(most_telling(front, SPIKES, 2)) == [(0.8, 200.0), (0.3, 100.0)]


def test_the_most_telling_are_those_of_a_greedy_choice_without_looking_at_all_each_time(monkeypatch):
    drawn = random.Random(0)
    points = [(n / 60, 10 ** (3 + 2 * n / 60 + drawn.random())) for n in range(60)]
    front = find_front(trials_of(points), SPIKES)
    expected, left = [], list(front)
    while left:
        best = max(left, key=lambda trial: hypervolume(points_of([*expected, trial]), SPIKES.corner))
        left.remove(best)
        expected.append(best)
    looks = []
    monkeypatch.setattr(pareto, "hypervolume", lambda *asked: looks.append(asked) or hypervolume(*asked))
    assert most_telling(front, SPIKES, len(front)) == expected
    assert len(looks) < len(front) ** 2 / 4  # n (n + 1) / 2 by looking at all


@given(st.lists(figures, min_size=1, max_size=3), st.lists(figures, min_size=1, max_size=3))
def test_domination_is_no_worse_in_both_means_and_better_in_one(one, other):
    def confirmed(points):
        return Confirmation(
            Design(Placement()), {seed: Outcome(a, {"spikes": s}) for seed, (a, s) in enumerate(points)}
        )

    shared = min(len(one), len(other))
    ours, theirs = (tuple(np.mean(points[:shared], axis=0)) for points in (one, other))
    assert dominates(confirmed(one), confirmed(other), SPIKES) == beats(ours, theirs)
    assert not dominates(confirmed(one), confirmed(one), SPIKES)


@given(st.lists(figures, unique=True, max_size=15), st.integers(1, 20))
def test_the_foremost_come_front_by_front(points, count):
    trials = trials_of(points)
    chosen = foremost(trials, SPIKES, count)
    assert len(chosen) == min(count, len(trials))
    assert len({trial.number for trial in chosen}) == len(chosen)
    for left_out in set(points) - set(points_of(chosen)):  # it dominates none of the chosen
        assert not any(beats(left_out, p) for p in points_of(chosen))


def test_a_failed_trial_is_never_foremost():
    failed = TrialResult(0, Design(Placement()), Outcome.failed("it raised"))
    assert foremost([failed], SPIKES, 3) == []


@given(st.lists(st.tuples(figures, st.none() | st.integers(1, 9)), max_size=12), st.integers(1, 12))
def test_a_stopped_trial_is_never_on_a_front_whatever_it_had(points, count):
    trials = [
        TrialResult(n, Design(Placement()), Outcome(a, {"spikes": s}, stopped=epoch))
        for n, ((a, s), epoch) in enumerate(points)
    ]
    complete = [trial for trial, (_, epoch) in zip(trials, points, strict=True) if epoch is None]
    assert find_front(trials, SPIKES) == find_front(complete, SPIKES)
    chosen = foremost(trials, SPIKES, count)
    assert chosen == foremost(complete, SPIKES, count)


@given(st.lists(figures, min_size=1, max_size=10))
def test_the_confirmed_front_is_what_no_other_mean_dominates(points):
    confirmed = [Confirmation(Design(Placement()), {1: Outcome(a, {"spikes": s})}) for a, s in points]
    front = confirmed_front([*confirmed, Confirmation(Design(Placement()), {}, failures={1: "NaN"})], SPIKES)
    wanted = [p for p in points if not any(beats(other, p) for other in points)]
    assert [(c.mean("accuracy"), c.mean("spikes")) for c in front] == wanted
