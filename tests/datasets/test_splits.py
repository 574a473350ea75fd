from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import OptionError
from quietspike.datasets import hold_out, stratified_sample
from quietspike.datasets.splits import limited

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=80)
SEEDS = st.integers(0, 2**32)


@given(LABELS, SEEDS, st.data())
def test_a_sample_has_its_number_and_the_classes_shares(labels, seed, data):
    number = data.draw(st.integers(0, len(labels)))
    chosen = stratified_sample(labels, number, seed)
    assert len(chosen) == number == len(set(chosen.tolist()))
    assert sorted(chosen.tolist()) == chosen.tolist()
    for label in set(labels):
        quota = number * labels.count(label) / len(labels)
        assert abs(sum(labels[i] == label for i in chosen) - quota) < 1


@given(LABELS, SEEDS, st.data())
def test_held_out_and_rest_divide_the_samples(labels, seed, data):
    number = data.draw(st.integers(1, len(labels) - 1))
    rest, out = hold_out(labels, number, seed)
    assert len(out) == number
    assert sorted([*rest.tolist(), *out.tolist()]) == list(range(len(labels)))


def test_a_share_is_a_share_of_all():
    rest, out = hold_out([0] * 60 + [1] * 40, 0.25, seed=3)
    assert (len(rest), len(out)) == (75, 25)
    assert (out < 60).sum() == 15


@pytest.mark.parametrize(
    ("held", "number"),
    [(np.float32(0.5), 5), (np.float64(0.3), 3), (Fraction(1, 5), 2), (np.int64(4), 4), (np.uint8(1), 1), (0.25, 2)],
)
def test_shares_and_numbers_of_every_type(held, number):
    rest, out = hold_out([0] * 10, held, seed=0)
    assert (len(rest), len(out)) == (10 - number, number)


def test_the_seed_alone_decides():
    labels = np.arange(200) % 10
    assert (stratified_sample(labels, 50, 1) == stratified_sample(labels, 50, 1)).all()
    assert (stratified_sample(labels, 50, 1) != stratified_sample(labels, 50, 2)).any()


def test_a_limit_above_the_number_takes_all():
    assert limited([0, 1, 1], None, seed=0).tolist() == limited([0, 1, 1], 9, seed=0).tolist() == [0, 1, 2]
    assert len(limited([0, 1, 1], 2, seed=0)) == 2


@pytest.mark.parametrize("held", [0, 10, 11, -1, 0.0, 1.0, 0.01, 1.5, float("nan"), float("inf")])
def test_a_part_without_samples_is_refused(held):
    with pytest.raises(OptionError, match=f"^held={held}: must hold out some of 10 samples, and not all$"):
        hold_out([0] * 10, held, seed=0)


def test_more_than_there_are_is_refused():
    with pytest.raises(OptionError, match="11 samples cannot be taken out of 10"):
        stratified_sample([0] * 10, 11, seed=0)
