"""What is scored of a space, in which order the scored are tried, and that a search tries just these."""

import hashlib
import itertools
import json
import threading

import hypothesis.strategies as st
import pytest
from hypothesis import given

from quietspike.core import Placement
from quietspike.search import scoring
from quietspike.search.config import check_experiment
from quietspike.search.design import Design
from quietspike.search.goals import Constraint, Goals
from quietspike.search.queue import queue_file, read_queue, write_queue
from quietspike.search.results import Outcome
from quietspike.search.selection import find_placements, rank
from quietspike.search.space import open_space
from quietspike.search.study import SearchStudy

GOALS = Goals()
CANDIDATES = ["none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"]


@pytest.fixture
def prepared(tiny_in, tmp_path):
    def prepare(supernet=None, **search):
        options = {"candidates": CANDIDATES, "strategy": "supernet", "supernet": supernet or {}, **search}
        experiment = tiny_in(tmp_path, search=options)
        return experiment, open_space(experiment)

    return prepare


def worth(placement):
    """Each choice has a gain and a price of its own, so that good choices make good placements."""
    accuracy, spikes = 0.2, 1e4
    for site, choice in placement.items():
        digits = hashlib.sha256(f"{site} {choice.label}".encode()).digest()
        accuracy += 0.15 * (digits[0] / 255 - 0.3)
        spikes *= 0.5 + digits[1] / 255
    return Outcome(accuracy, {"spikes": spikes})


class Scores:
    """Stands for the processes that score."""

    def __init__(self, worth=worth):
        self.asked = []
        self.scores = {}
        self.worth = worth

    def __call__(self, placements):
        self.asked.append(list(placements))
        self.scores.update({p: self.worth(p) for p in placements})
        return [self.scores[p] for p in placements]


def test_a_small_space_is_scored_whole(prepared):
    experiment, space = prepared()
    assert space.size == 2048
    score = Scores()
    find_placements(experiment, space, score)
    sent = list(itertools.chain(*score.asked))
    assert len(sent) == len(set(sent)) == 2048
    assert [len(wave) for wave in score.asked] == [256] * 8


def found(prepared, **supernet):
    experiment, space = prepared(supernet={"scored": 150, "population": 16, **supernet})
    score = Scores()
    find_placements(experiment, space, score)
    return score, space


def test_nsga_scores_as_many_as_asked_for_and_the_same_each_time(prepared):
    score, space = found(prepared)
    assert len(score.scores) == 150
    again, _ = found(prepared)
    assert again.asked == score.asked
    uniform = list(dict.fromkeys(space.uniform.values()))
    assert list(score.scores)[: len(uniform)] == uniform


def test_without_a_uniform_start_none_is_put_in(prepared):
    experiment, space = prepared(supernet={"scored": 40, "population": 16}, uniform_first=False)
    score = Scores()
    find_placements(experiment, space, score)
    assert not set(score.asked[0]) & set(space.uniform.values())


def test_nsga_finds_more_than_chance(prepared):
    """Of the best 100 of 2,048 placements, 150 draws at random meet 7."""
    score, space = found(prepared)
    every = {design.placement: worth(design.placement) for design in space.shuffled(0, space.size)}
    best = set(rank(every, GOALS)[:100])
    assert len(best & score.scores.keys()) > 3 * 150 * 100 / 2048


def test_a_placement_that_fails_is_no_parent_and_never_tried(prepared):
    def sometimes(placement):
        return Outcome.failed("no") if "block1.current" in placement else worth(placement)

    experiment, space = prepared(supernet={"scored": 60, "population": 8})
    score = Scores(sometimes)
    find_placements(experiment, space, score)
    assert len(score.scores) == 60
    ranked = rank(score.scores, GOALS)
    assert ranked
    assert all("block1.current" not in placement for placement in ranked)


def test_it_ends_where_nothing_new_comes(prepared):
    experiment, space = prepared(supernet={"scored": 2047, "population": 2})
    score = Scores(lambda placement: Outcome(0.5, {"spikes": 1.0}))
    find_placements(experiment, space, score)
    assert 2 <= len(score.scores) <= 2047


def test_the_order_is_that_of_fronts_and_of_what_they_tell():
    """By hand: a, b, c are the front; against (0.5, 1000) their areas are 0.3·1, 0.4·0.301 and 0.1·2 decades.

    After a, b adds 0.1·0.301 and c adds 0.1·1. Behind it d and e dominate nothing of what is worse than the worst.
    """
    figures = {"a": (0.8, 100.0), "b": (0.9, 500.0), "c": (0.6, 10.0), "d": (0.5, 600.0), "e": (0.55, 1000.0)}
    scores = {Placement({name: "ta"}): Outcome(accuracy, {"spikes": s}) for name, (accuracy, s) in figures.items()}
    scores[Placement({"f": "ta"})] = Outcome.failed("it raised")
    assert "".join(next(iter(placement)) for placement in rank(scores, GOALS)) == "acbde"
    assert rank({Placement(): Outcome.failed("it raised")}, GOALS) == []


def test_what_violates_constraints_comes_last():
    figures = {"a": (0.8, 100.0), "b": (0.9, 500.0), "c": (0.6, 10.0), "d": (0.5, 600.0)}
    scores = {Placement({name: "ta"}): Outcome(accuracy, {"spikes": s}) for name, (accuracy, s) in figures.items()}
    accurate = Goals(constraints=(Constraint.parse("accuracy >= 0.85"),))
    assert "".join(next(iter(placement)) for placement in rank(scores, accurate)) == "bacd"


@given(st.permutations([(name, spikes) for name in "abc" for spikes in (1, 2)]))
def test_the_order_does_not_depend_on_the_order_of_scoring(shuffled):
    """Of equals, too, as where two processes score."""
    scores = {Placement({f"{name}{spikes}": "ta"}): Outcome(0.5, {"spikes": spikes}) for name, spikes in shuffled}
    ranked = [next(iter(placement)) for placement in rank(scores, GOALS)]
    assert ranked == ["a1", "b1", "c1", "a2", "b2", "c2"]


def claims(study, count):
    claimed = []
    for _ in range(count):
        claim = study.claim()
        study.finish(claim, worth(claim.placement))
        claimed.append(claim.placement)
    return claimed


def test_a_study_tries_the_uniform_ones_then_the_queue_then_others(prepared, tmp_path):
    experiment, space = prepared(trials=14)
    uniform = list(dict.fromkeys(space.uniform.values()))
    queue = [d.placement for d in space.shuffled(3, 6) if d.placement not in uniform][:3]
    write_queue(tmp_path, map(Design, [*queue[:2], uniform[1], queue[2]]))
    study = SearchStudy(experiment, space, tmp_path)
    tried = claims(study, 14)
    assert tried[: len(uniform) + 3] == [*uniform, *queue]
    assert len(set(tried)) == 14
    assert study.claim() is None


def test_more_trials_go_on_in_the_same_queue(prepared, tmp_path):
    experiment, space = prepared(trials=2, uniform_first=False)
    queue = list(space.shuffled(3, 5))
    write_queue(tmp_path, queue)
    queue = [design.placement for design in queue]
    first = claims(SearchStudy(experiment, space, tmp_path), 2)
    longer, _ = prepared(trials=4, uniform_first=False)
    assert longer.folder == experiment.folder
    assert first + claims(SearchStudy(longer, space, tmp_path), 2) == queue[:4]


def test_a_lost_placement_comes_again_at_once(prepared, tmp_path):
    experiment, space = prepared(trials=3, uniform_first=False)
    write_queue(tmp_path, space.shuffled(3, 5))
    study = SearchStudy(experiment, space, tmp_path)
    claim = study.claim()
    study.lose(claim)
    assert study.claim().placement == claim.placement


def test_the_queue_is_plain_json(tmp_path):
    assert read_queue(tmp_path) is None
    placements = [Placement({"block1.current": {"name": "ca", "channel_reduction": 4}}), Placement()]
    write_queue(tmp_path, map(Design, placements))
    assert [design.placement for design in read_queue(tmp_path)] == placements
    text = queue_file(tmp_path).read_text(encoding="utf-8")
    assert json.loads(text) == [{"block1.current": {"name": "ca", "channel_reduction": 4}}, {}]


def test_the_strategy_shapes_a_search_and_its_options_only_then(tiny_in, tmp_path):
    data = tiny_in(tmp_path).data

    def folder(**search):
        return check_experiment({**data, "search": {**data["search"], **search}}).folder

    assert folder(supernet={"epochs": 3}) == folder()
    assert folder(strategy="supernet") != folder()
    assert folder(strategy="supernet", supernet={"epochs": 3}) != folder(strategy="supernet")


def test_a_process_that_scores_ends_behind_the_placement_that_it_is_at(monkeypatch):
    ended = threading.Event()

    def score(scorer, placement):
        ended.set()  # as the driver does at Ctrl-C
        return worth(placement)

    monkeypatch.setattr(scoring, "_outcome", score)
    monkeypatch.setattr(scoring._Process, "ended", ended, raising=False)
    monkeypatch.setattr(scoring._Process, "scorer", "is not asked")
    assert len(scoring._score([Placement().json] * 3)) == 1
