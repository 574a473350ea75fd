import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import OptionError
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.recipe import Recipe
from quietspike.core.voting import Voting


def clips_of(choices, classes=3, height=1.0):
    """Scores whose highest is the class chosen."""
    return height * torch.eye(classes)[torch.tensor(choices)]


@pytest.mark.parametrize(
    ("choices", "label", "majority", "plurality"),
    [
        ([1, 1, 0], 1, 1, 1),
        ([1, 0, 2], 1, 0, 0),  # equally many votes and equal sums: the first class
        ([1, 1, 0, 2], 1, 0, 1),  # half of them is no majority
        ([0, 0, 2, 1], 1, 0, 0),
        ([2, 2, 2], 2, 1, 1),
    ],
)
def test_rules_by_hand(choices, label, majority, plurality):
    scores, labels = clips_of(choices), torch.full((len(choices),), label)
    assert Voting(len(choices), "majority").count_right(scores, labels) == majority
    assert Voting(len(choices), "plurality").count_right(scores, labels) == plurality


def test_equally_many_votes_go_to_the_higher_sum():
    scores = torch.cat([clips_of([0, 0]), clips_of([1, 1], height=1.5)])
    assert Voting(4, "plurality").count_right(scores, torch.tensor([1, 1, 1, 1])) == 1
    assert Voting(4, "plurality").count_right(scores, torch.tensor([0, 0, 0, 0])) == 0


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31), st.sampled_from(["majority", "plurality"]))
def test_samples_count_for_themselves(samples, clips, seed, rule):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(samples * clips, 4, generator=generator)
    labels = torch.randint(4, (samples,), generator=generator).repeat_interleave(clips)
    voting = Voting(clips, rule)
    alone = [
        voting.count_right(scores[i * clips : (i + 1) * clips], labels[i * clips : (i + 1) * clips])
        for i in range(samples)
    ]
    assert voting.count_right(scores, labels) == sum(alone)
    if clips == 1:
        assert sum(alone) == int((scores.argmax(1) == labels).sum())


class Clips:
    """Three samples of two clips; a frame holds its clip's scores."""

    voting = Voting(2)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        choices = [0, 0, 1, 0, 2, 1]  # right with 0; half right with 1; wrong with 0
        return clips_of(choices)[index][None], [0, 0, 1, 1, 0, 0][index]


def test_an_evaluation_counts_samples_whatever_the_batches():
    network = torch.nn.Flatten(0, 1)  # [T=1, B, 3] → [B, 3]
    for size in (1, 4, 6):
        batches = Batches(Clips(), size)
        shown = evaluate(network, batches.epoch(), Recipe(), torch.device("cpu"), batches.voting)
        assert shown.accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(("options", "named"), [({"clips": 0}, "clips=0"), ({"rule": "veto"}, "vote='veto'")])
def test_bad_options_are_refused(options, named):
    with pytest.raises(OptionError, match=named):
        Voting(**options)
