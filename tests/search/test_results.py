import json
import math
import statistics

import hypothesis.strategies as st
import pytest
from hypothesis import given

from quietspike.search.design import Design
from quietspike.search.results import Outcome

figures = st.floats(0, 1e6)


@given(figures, st.dictionaries(st.sampled_from(["spikes", "energy"]), figures), st.none() | st.text(max_size=9))
def test_an_outcome_comes_back_from_its_data_and_json(accuracy, totals, reason):
    for stopped in (None, 3):
        outcome = Outcome(accuracy, totals, {"block1": 0.5}, 3.0, reason, stopped)
        assert Outcome.of(outcome.data) == outcome
        assert Outcome.of(json.loads(json.dumps(outcome.data))) == outcome
        assert outcome.complete == (reason is None and stopped is None)


def test_a_failed_outcome_is_json_without_nan():
    data = json.loads(json.dumps(Outcome.failed("DivergedError: NaN").data, allow_nan=False))
    again = Outcome.of(data)
    assert again.reason == "DivergedError: NaN"
    assert math.isnan(again.accuracy)
    assert again.totals == {}


def test_values_are_by_rising_seed(confirmation):
    c = confirmation("ta", [0.3, 0.1, 0.2], [30, 10, 20], seeds=[9, 2, 5])
    assert c.values("accuracy") == [0.1, 0.2, 0.3]
    assert c.values("spikes") == [10.0, 20.0, 30.0]
    assert c.values("energy") == [0.001, 0.002, 0.003]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_mean_and_deviation_are_those_of_a_sample(accuracies):
    from quietspike.core import Placement
    from quietspike.search.results import Confirmation

    c = Confirmation(Design(Placement()), {seed: Outcome(a) for seed, a in enumerate(accuracies)})
    assert c.mean("accuracy") == pytest.approx(statistics.mean(accuracies))
    assert c.deviation("accuracy") == pytest.approx(statistics.stdev(accuracies), abs=1e-12)


def test_one_seed_has_no_deviation_and_none_no_mean(confirmation):
    assert math.isnan(confirmation("ta", [0.5], [9]).deviation("accuracy"))
    assert math.isnan(confirmation("ta", [], []).mean("accuracy"))


def test_names_are_for_people(confirmation):
    mixed = {"block1.current": "ta", "block2.current": {"name": "ca", "channel_reduction": 4}}
    assert confirmation("none", [0.5], [9]).name == "none"
    assert confirmation("tcsa", [0.5], [9]).name == "tcsa everywhere"
    assert confirmation(None, [0.5], [9], placement=mixed).name == "block1 ta · block2 ca(channel_reduction=4)"


def test_confirmed_finds_a_uniform_placement(result, trial, confirmation):
    none, ta, mixed = (confirmation(uniform, [0.5], [9]) for uniform in ("none", "ta", None))
    found = result([trial(0, 0.5, 9)], [mixed, ta, none])
    assert found.confirmed("none") is none
    assert found.confirmed("ta") is ta
    assert found.confirmed("ca") is None


def test_the_best_is_the_cheapest_that_is_no_less_accurate_than_no_attention(result, trial, confirmation):
    none = confirmation("none", [0.8, 0.9], [3000, 3100])
    cheap = confirmation("tcsa", [0.84, 0.84], [500, 500])  # a mean of 0.84 against 0.85
    equal = confirmation(None, [0.9, 0.8], [1000, 1200])
    better = confirmation("ta", [0.95, 0.95], [1101, 1101])
    trials = [trial(0, 0.5, 9)]
    assert result(trials, [cheap, equal, better, none]).best is equal
    assert result(trials, [cheap, none]).best is none
    assert result(trials, [cheap, better]).best is None  # nothing to be judged against
    assert result(trials, [none, better], objective="energy").best is better
    assert result(trials).best is None


def test_the_best_is_compared_over_the_seeds_that_both_have(result, trial, confirmation):
    none = confirmation("none", [0.8, 0.9], [3000, 3000])  # 0.8 with the one seed that the other has
    other = confirmation("ta", [0.82], [500])
    assert none.mean("accuracy") > other.mean("accuracy")
    assert result([trial(0, 0.5, 9)], [other, none]).best is other
    elsewhere = confirmation("ta", [0.99], [1], seeds=[77])
    assert result([trial(0, 0.5, 9)], [elsewhere, none]).best is none


def test_a_confirmation_that_failed_altogether_is_never_best(result, trial, confirmation):
    none = confirmation("none", [0.8], [3000])
    dead = confirmation("ta", [], [], failures={1: "RuntimeError"})
    assert result([trial(0, 0.5, 9)], [dead, none]).best is none
    silent = confirmation("none", [], [], failures={1: "RuntimeError"})
    assert result([trial(0, 0.5, 9)], [confirmation("ta", [0.1], [0]), silent]).best is None
