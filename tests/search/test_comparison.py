import hypothesis.strategies as st
import pytest
from hypothesis import assume, given
from scipy import stats

from quietspike.core import Placement
from quietspike.search.comparison import paired_difference
from quietspike.search.design import Design
from quietspike.search.results import Confirmation, Outcome

accuracies = st.floats(0, 1, allow_subnormal=False)


def confirmed(by_seed):
    return Confirmation(Design(Placement()), {seed: Outcome(a, {"spikes": 1000 * a}) for seed, a in by_seed.items()})


@given(st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=8))
def test_it_is_the_interval_of_the_paired_t_test(pairs):
    ours, theirs = zip(*pairs, strict=True)
    differences = [a - b for a, b in pairs]
    assume(max(differences) - min(differences) > 1e-6)  # scipy warns of lost precision below
    found = paired_difference(confirmed(dict(enumerate(ours))), confirmed(dict(enumerate(theirs))), "accuracy")
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.mean == pytest.approx(sum(differences) / len(pairs), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_by_hand():
    # differences 10, 20, 30: mean 20, deviation 10, t(0.975, 2) = 4.302653, margin 4.302653 * 10 / sqrt(3)
    found = paired_difference(confirmed({1: 0.11, 2: 0.22, 3: 0.33}), confirmed({1: 0.10, 2: 0.20, 3: 0.30}), "spikes")
    assert found.mean == pytest.approx(20)
    assert found.high - found.mean == pytest.approx(24.8414, abs=1e-3)
    assert found.mean - found.low == pytest.approx(24.8414, abs=1e-3)


def test_only_seeds_that_both_have_are_paired():
    ours = confirmed({3: 0.9, 1: 0.5, 2: 0.1})
    theirs = confirmed({2: 0.2, 3: 0.6, 7: 0.0})
    assert paired_difference(ours, theirs, "accuracy").mean == pytest.approx(((0.1 - 0.2) + (0.9 - 0.6)) / 2)


@pytest.mark.parametrize("theirs", [{}, {1: 0.5}, {8: 0.1, 9: 0.2}])
def test_fewer_than_two_pairs_say_nothing(theirs):
    assert paired_difference(confirmed({1: 0.5, 2: 0.6}), confirmed(theirs), "accuracy") is None


def test_equal_differences_leave_no_doubt():
    found = paired_difference(confirmed({1: 0.75, 2: 0.5}), confirmed({1: 0.5, 2: 0.25}), "accuracy")
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)
