"""Constraints in the journal: what Optuna's samplers are told, and what they make of it."""

import itertools
import os
import statistics
import warnings

import pytest
from optuna.trial import TrialState

from quietspike.search.config import check_experiment
from quietspike.search.pareto import find_front
from quietspike.search.results import Outcome
from quietspike.search.space import open_space
from quietspike.search.study import SearchStudy

NAMES = ["none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"]
SITES = [f"block{number}.current" for number in (1, 2, 3)]
BOUND = 1250.0
"""Spikes that one design in seven stays below."""


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def study_of(tiny_data, tmp_path):
    def make(name, seed=0, **search):
        (tmp_path / name).mkdir(exist_ok=True)
        shape = {
            "sites": ["block*.current"],
            "candidates": NAMES,
            "population": 8,
            "uniform_first": False,
            "trials": 60,
        }
        experiment = check_experiment(tiny_data(seed=seed, search={**shape, **search}))
        return SearchStudy(experiment, open_space(experiment), tmp_path / name)

    return make


def figures(names):
    """Spikes and accuracy of the attention at three sites: what is accurate is dear."""
    spikes = 100.0 + 100.0 * sum(NAMES.index(name) * (index + 1) for index, name in enumerate(names))
    return spikes, 0.5 + spikes / 1e4


def outcome_of(placement):
    names = [placement[site].name if site in placement else "none" for site in SITES]
    spikes, accuracy = figures(names)
    return Outcome(accuracy, {"spikes": spikes})


def share_below(study):
    """Of the second half of what is claimed, after the sampler could learn."""
    spikes = []
    while (claim := study.claim()) is not None:
        outcome = outcome_of(claim.placement)
        spikes.append(outcome.totals["spikes"])
        study.finish(claim, outcome)
    return statistics.mean(value <= BOUND for value in spikes[len(spikes) // 2 :])


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_samplers_prefer_what_is_feasible(study_of, sampler):
    everywhere = [figures(names)[0] <= BOUND for names in itertools.product(NAMES, repeat=3)]
    base = statistics.mean(everywhere)
    assert 0.1 < base < 0.3
    bounded = {"constraints": [f"spikes <= {BOUND:.0f}"]}
    constrained, free = [], []
    for seed in range(3):
        constrained.append(share_below(study_of(f"bounded{seed}", seed, sampler=sampler, **bounded)))
        free.append(share_below(study_of(f"free{seed}", seed, sampler=sampler)))
    assert statistics.mean(constrained) > 2 * base
    assert statistics.mean(constrained) > 1.3 * statistics.mean(free)


def test_random_claims_do_not_depend_on_constraints(study_of):
    bounded = share_below(study_of("bounded", sampler="random", constraints=[f"spikes <= {BOUND:.0f}"]))
    assert bounded == share_below(study_of("free", sampler="random"))


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe", "nsga2", "gp"])
def test_the_front_is_optunas_own_of_constrained_trials(study_of, sampler):
    bounds = [f"spikes <= {BOUND:.0f}", "accuracy >= 0.55"]
    study = study_of("one", sampler=sampler, constraints=bounds, trials=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        share_below(study)
    ours = [study.goals.point(trial.outcome.value) for trial in find_front(study.results(), study.goals)]
    assert set(ours) == {tuple(trial.values) for trial in study.study.best_trials} != set()
    assert len(ours) == len(set(ours)), "of equals one"
    done = [trial for trial in study.study.trials if trial.state == TrialState.COMPLETE]
    assert all(trial.constraints.keys() == {"spikes <= 1250", "accuracy >= 0.55"} for trial in done)


def test_a_kill_between_constraint_and_end_leaves_the_trial_whole(study_of, monkeypatch):
    study = study_of("one", constraints=[f"spikes <= {BOUND:.0f}", "accuracy >= 0.55"])
    claim = study.claim()
    told = []
    monkeypatch.setattr(SearchStudy, "_tell", lambda self, *args: told.append(args))
    study.finish(claim, Outcome(0.6, {"spikes": 2500.0}))
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    again = study_of("one", constraints=[f"spikes <= {BOUND:.0f}", "accuracy >= 0.55"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.lose_all() == 1
    [trial] = again.study.trials
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.6, 2500.0])
    assert trial.constraints == {"spikes <= 1250": 1.0, "accuracy >= 0.55": pytest.approx(-0.05 / 0.55)}
    assert told == [(0, [0.6, 2500.0])]


def test_three_objectives_are_told_in_their_order(study_of):
    study = study_of("one", objectives=["accuracy", "parameters", "spikes"], trials=3)
    while (claim := study.claim()) is not None:
        study.finish(claim, Outcome(0.5, {"spikes": 7.0, "parameters": 9.0}))
    assert [direction.name for direction in study.study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.study.trials[0].values == [0.5, 9.0, 7.0]
