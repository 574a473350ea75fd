"""The journal: what is claimed, in which order, and what is left of it after a kill at any moment."""

import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
import time

import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from quietspike.core import Placement, QuietspikeError
from quietspike.search import liveness
from quietspike.search import study as study_module
from quietspike.search.pareto import find_front
from quietspike.search.results import Outcome
from quietspike.search.space import open_space
from quietspike.search.study import SearchStudy

SAMPLERS = ("random", "grid", "tpe", "nsga2", "gp")

CLAIM_ALL = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_study import fake_outcome, fake_training
from quietspike.search.config import load_experiment
from quietspike.search.space import open_space
from quietspike.search.study import SearchStudy

experiment = load_experiment(Path(sys.argv[1]))
study = SearchStudy(experiment, open_space(experiment), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
while (claim := study.claim()) is not None:
    print(claim.number, flush=True)
    time.sleep(fake_training(claim.placement))
    study.finish(claim, fake_outcome(claim.placement))
"""


def fake_outcome(placement):
    """What a training might give, at once; one placement in eight fails."""
    digits = hashlib.sha256(placement.json.encode()).digest()
    if digits[2] % 8 == 0:
        return Outcome.failed("it is one of those that fail")
    return Outcome(accuracy=digits[0] / 255, totals={"spikes": 1000.0 + digits[1]})


def fake_training(placement):
    """Seconds."""
    return hashlib.sha256(placement.json.encode()).digest()[3] / 255 / 50


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def open_study(tiny_data, tmp_path):
    """A function that opens a study anew, in the same folder unless another is named; takes keys of ``search``."""
    from quietspike.search.config import check_experiment

    def open_one(folder="study", seed=0, epochs=1, **search):
        (tmp_path / folder).mkdir(exist_ok=True)
        shape = {"trials": 16, "population": 4, "sites": ["block*.current"]}
        experiment = check_experiment(tiny_data(seed=seed, train={"epochs": epochs}, search={**shape, **search}))
        return SearchStudy(experiment, open_space(experiment), tmp_path / folder)

    return open_one


def claim_all(study):
    """Claim and finish until there is nothing left; gives the placements in the order of their claims."""
    placements = []
    while (claim := study.claim()) is not None:
        placements.append(claim.placement)
        study.finish(claim, fake_outcome(claim.placement))
    return placements


def facts(study):
    return [(trial.placement, trial.outcome) for trial in study.results()]


def trials(study):
    return study.study.get_trials(deepcopy=False)


# what is claimed


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_uniform_placements_come_first(open_study, sampler):
    study = open_study(sampler=sampler)
    placements = claim_all(study)
    assert placements[:3] == list(study.space.uniform.values())
    assert len(placements) == len(set(placements)) == 16
    assert study.claim() is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_uniform_placements_may_be_left_out(open_study, sampler):
    study = open_study(sampler=sampler, uniform_first=False, trials=3)
    assert claim_all(study) != list(study.space.uniform.values())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed_same_claims(open_study, sampler):
    first = claim_all(open_study("first", sampler=sampler))
    assert claim_all(open_study("second", sampler=sampler)) == first
    assert claim_all(open_study("third", sampler=sampler, seed=1)) != first


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_longer_search_begins_like_a_shorter_one(open_study, sampler):
    begun = claim_all(open_study("short", trials=9, sampler=sampler))
    rest = claim_all(open_study("short", trials=16, sampler=sampler))
    assert begun + rest == claim_all(open_study("long", trials=16, sampler=sampler))


def test_grid_visits_every_placement_once(open_study):
    study = open_study(sampler="grid", trials=1000)
    placements = claim_all(study)
    assert len(placements) == len(set(placements)) == study.space.size == 27
    assert len(trials(study)) == 27


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ends_when_nothing_is_left_to_try(open_study, sampler):
    study = open_study(sampler=sampler, trials=1000, sites=["block1.current", "fc1.current"])
    placements = claim_all(study)
    assert len(placements) == len(set(placements)) == study.space.size == study.total == 6


def test_an_endless_space_ends_where_no_more_is_drawn(open_study, monkeypatch):
    monkeypatch.setattr("quietspike.search.study.REPEATS_IN_A_ROW", 0)  # as if the sampler only repeated itself
    near = {"neuron.threshold": {"low": 0.9985, "high": 0.9998}}  # 1,301 values of six digits
    study = open_study(sampler="random", candidates=["none"], settings=near, uniform_first=False, trials=1400)
    study._shuffled = itertools.islice(study._shuffled, 1290, None)  # after so many trials
    assert 0 < len(claim_all(study)) <= 11


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_repetitions_are_answered_from_the_journal_and_not_counted(open_study, sampler):
    study = open_study(sampler=sampler, trials=27)
    assert len(claim_all(study)) == 27
    repeated = [t for t in trials(study) if "repeats" in t.user_attrs]
    assert repeated
    for trial in repeated:
        earlier = trials(study)[trial.user_attrs["repeats"]]
        assert (trial.params, trial.state, trial.values) == (earlier.params, earlier.state, earlier.values)
    assert len(study.results()) == 27


def test_failures_count_and_say_why(open_study):
    study = open_study()
    claim = study.claim()
    study.finish(claim, Outcome.failed("ValueError: no"))
    [result] = study.results()
    assert (result.number, result.placement, result.outcome.reason) == (0, claim.placement, "ValueError: no")
    assert trials(study)[0].state == TrialState.FAIL
    assert len(claim_all(study)) == 15


def test_several_processes_never_exceed_the_budget(open_study, tmp_path):
    study = open_study(sampler="random", trials=20)
    (tmp_path / "experiment.yaml").write_text(json.dumps(study.experiment.data), encoding="utf-8")
    workers = [start_claiming(tmp_path) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    claimed = [set(map(int, worker.communicate(timeout=60)[0].split())) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert all(claimed), "each of them had a share"
    assert sum(map(len, claimed)) == len(set.union(*claimed)) == 20
    results = study.results()
    assert len(results) == len({result.placement for result in results}) == 20
    assert all(trial.state.is_finished() for trial in trials(study))


# what a kill leaves


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_kill_between_any_two_writes_changes_nothing(open_study, sampler, monkeypatch):
    kill_at_writes(open_study, sampler, monkeypatch, every=29)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "seed"), [*((sampler, 0) for sampler in SAMPLERS), ("nsga2", 1), ("nsga2", 2), ("tpe", 1)]
)
def test_a_kill_at_one_write_in_three_changes_nothing(open_study, sampler, seed, monkeypatch):
    kill_at_writes(open_study, sampler, monkeypatch, every=3, seed=seed)


def kill_at_writes(open_study, sampler, monkeypatch, every, seed=0, run=None, **keys):
    run = run or claim_all
    undisturbed = open_study("undisturbed", seed, sampler=sampler, **keys)
    writes = Writes(monkeypatch)
    run(undisturbed)
    expected = facts(undisturbed)
    for deadly in range(1, writes.count, every):
        folder = f"killed-{deadly}"
        open_study(folder, seed, sampler=sampler, **keys)
        writes.die_at(deadly)
        with pytest.raises(KilledError):
            run(open_study(folder, seed, sampler=sampler, **keys))
        writes.die_at(None)
        resumed = open_study(folder, seed, sampler=sampler, **keys)
        resumed.lose_all()
        run(resumed)
        assert facts(resumed) == expected, f"killed at write {deadly}"
        assert all(trial.state.is_finished() for trial in trials(resumed))


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


class Writes:
    """Counts what is appended to journals; dies at a chosen write: behind it, or in the middle of it."""

    def __init__(self, monkeypatch):
        self.count = 0
        self.deadly = None
        append = JournalFileBackend.append_logs

        def counted(backend, logs):
            self.count += 1
            before = os.path.getsize(backend._file_path)
            append(backend, logs)
            if self.count == self.deadly:
                if self.deadly % 2:
                    after = os.path.getsize(backend._file_path)
                    share = self.deadly % 9 / 9
                    os.truncate(backend._file_path, int(before + share * (after - before)))
                raise KilledError

        monkeypatch.setattr(JournalFileBackend, "append_logs", counted)

    def die_at(self, number):
        self.count, self.deadly = 0, number


@pytest.mark.slow
def test_sigkills_at_random_moments_change_nothing(open_study, tmp_path):
    undisturbed = open_study("undisturbed", trials=27)
    claim_all(undisturbed)
    study = open_study(trials=27)
    (tmp_path / "experiment.yaml").write_text(json.dumps(study.experiment.data), encoding="utf-8")
    kills = 0
    while len(study.results()) < 27:
        worker = start_claiming(tmp_path)
        worker.stdout.readline()
        worker.stdin.write("go\n")
        worker.stdin.flush()
        for _ in range(5):
            if not worker.stdout.readline():
                break
        time.sleep(0.003 * kills)
        worker.kill()
        worker.communicate()
        kills += 1
        study = open_study(trials=27)
        study.lose_all()
    assert kills >= 5
    assert facts(study) == facts(undisturbed)


def start_claiming(folder):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", CLAIM_ALL, str(folder / "experiment.yaml"), str(folder / "study"), here]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("rest", [b"{", b'{"op_code":8,"worker_id":"x', b'{"op_code"', b"\x00\x00"])
def test_a_line_that_was_cut_off_is_removed(open_study, tmp_path, rest):
    study = open_study(trials=9)
    for _ in range(5):
        claim = study.claim()
        study.finish(claim, fake_outcome(claim.placement))
    before = facts(study)
    with (tmp_path / "study" / "study.journal").open("ab") as journal:
        journal.write(rest)
    resumed = open_study(trials=9)
    assert facts(resumed) == before
    claim_all(resumed)
    again = open_study(trials=9)
    assert facts(again)[:5] == before
    assert len(facts(again)) == 9
    assert facts(study) == facts(again), "one that was open all the time reads on"


def test_a_journal_of_one_unfinished_line_is_begun_anew(open_study, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.journal").write_bytes(b'{"op_code"')
    assert len(claim_all(open_study(trials=4))) == 4


def test_orphans_are_claimed_again_before_anything_else(open_study, monkeypatch):
    study = open_study()
    lost = study.claim()
    other = study.claim()
    monkeypatch.setattr(study_module, "is_alive", lambda worker: False)
    assert study.lose_dead() == 2
    assert [study.claim().placement for _ in range(2)] == [lost.placement, other.placement]
    assert study.results() == []


def test_the_living_are_left_alone(open_study):
    study = open_study()
    claim = study.claim()
    assert study.lose_dead() == 0
    study.finish(claim, fake_outcome(claim.placement))
    assert len(study.results()) == 1


def test_a_placement_that_kills_its_workers_fails(open_study, monkeypatch):
    study = open_study()
    monkeypatch.setattr(study_module, "is_alive", lambda worker: False)
    first = study.claim()
    for _ in range(2):
        assert study.lose_dead() == 1
        assert study.results() == []
        assert study.claim().placement == first.placement
    assert study.lose_dead() == 1
    [result] = study.results()
    assert (result.placement, result.outcome.reason) == (first.placement, "its worker died 3 times")
    assert study.claim().placement != first.placement


def test_an_interrupted_search_blames_no_placement(open_study):
    study = open_study()
    placement = study.claim().placement
    for _ in range(5):
        assert study.lose_all() == 1
        assert study.claim().placement == placement
    assert study.results() == []


def test_work_that_was_done_is_kept_though_its_worker_died(open_study, monkeypatch):
    study = open_study()
    claim = study.claim()
    outcome = Outcome(0.5, {"spikes": 100.0})
    with monkeypatch.context() as patch:
        patch.setattr(SearchStudy, "_tell", dies)
        with pytest.raises(KilledError):
            study.finish(claim, outcome)
    assert study.lose_all() == 1
    [result] = study.results()
    assert (result.placement, result.outcome) == (claim.placement, outcome)


def dies(*args, **options):
    raise KilledError


def test_workers_of_an_earlier_driver_are_waited_for(open_study, monkeypatch):
    study = open_study()
    study.await_strangers()
    study.claim()
    study.await_strangers()  # one's own claim is no stranger's
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        claim = study.claim()
        started = liveness.psutil.Process(stranger.pid).create_time()
        study._note(claim.number, "worker", {**liveness.who_am_i(), "pid": stranger.pid, "started": started})
        monkeypatch.setattr(study_module, "PATIENCE", 0.3)
        with pytest.raises(QuietspikeError, match=f"process {stranger.pid} of an earlier search still works here"):
            study.await_strangers()
    finally:
        stranger.kill()
    stranger.wait()
    study.await_strangers()
    assert study.lose_all() == 2


def test_another_machines_claims_are_not_waited_for(open_study):
    study = open_study()
    claim = study.claim()
    study._note(claim.number, "worker", {**liveness.who_am_i(), "host": "elsewhere"})
    study.await_strangers()
    assert study.lose_dead() == 0
    assert study.lose_all() == 1


def test_liveness_of_processes():
    me = liveness.who_am_i()
    assert liveness.is_alive(me)
    assert not liveness.is_alive(None)
    assert not liveness.is_alive({**me, "started": me["started"] - 100}), "its id was given to another process"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    started = liveness.psutil.Process(ended.pid).create_time()
    while liveness.psutil.Process(ended.pid).status() != liveness.psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not liveness.is_alive({**me, "pid": ended.pid, "started": started})
    ended.wait()
    assert not liveness.is_alive({**me, "pid": ended.pid, "started": started})


def test_placements_survive_the_journal(open_study):
    study = open_study(candidates=["none", {"name": "ca", "channel_reduction": [2, 4]}])
    claimed = [claim.placement for claim in iter(study.claim, None)]
    assert Placement({s: {"name": "ca", "channel_reduction": 4} for s in study.space.choices}) in claimed
    again = open_study(candidates=["none", {"name": "ca", "channel_reduction": [2, 4]}])
    own = [trial for trial in trials(again) if "repeats" not in trial.user_attrs]
    assert [again._ledger.design(trial).placement for trial in own] == claimed


# early stopping

EARLY = {"epochs": 10, "early_stopping": {}}
"""Rungs after 1, 3 and 9 epochs."""


def fake_values(placement, epoch):
    """What a training might show after an epoch; after the last, ``fake_outcome``'s."""
    final = fake_outcome(placement)
    if final.reason:
        final = Outcome(0.5, {"spikes": 1100.0})
    blur = hashlib.sha256(f"{placement.json} {epoch}".encode()).digest()[0] / 255 / epoch
    return {"accuracy": final.accuracy * (1 - 0.5**epoch) + blur / 10, "spikes": final.totals["spikes"] * (1 + blur)}


def train(study, claim):
    """A training that asks at rungs; one that fails does so after its fifth epoch."""
    for epoch in range(1, 10):
        values = fake_values(claim.placement, epoch)
        if not study.goes_on(claim, epoch, values):
            return Outcome(values["accuracy"], {"spikes": values["spikes"]}, stopped=epoch)
        if epoch == 5 and fake_outcome(claim.placement).reason:
            break
    return fake_outcome(claim.placement)


def train_all(study):
    while (claim := study.claim()) is not None:
        study.finish(claim, train(study, claim))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_stopped_trials_count_and_are_no_results(open_study, sampler):
    study = open_study(sampler=sampler, trials=20, **EARLY)
    train_all(study)
    results = study.results()
    assert len(results) == 20
    stopped = [r.outcome.stopped for r in results if r.outcome.stopped]
    assert set(stopped) <= {1, 3, 9}
    assert len(stopped) >= 8, "two in three, but for those that come in ever better order"
    assert all(r.outcome.complete for r in find_front(results, study.goals))
    assert study.claim() is None
    for epoch in (1, 3, 9):
        there = [t.user_attrs[f"rung-{epoch}"] for t in trials(study) if f"rung-{epoch}" in t.user_attrs]
        gone_on = sum(visit["goes_on"] for visit in there)
        assert 1 <= gone_on <= len(there)
        assert len(there) - gone_on == stopped.count(epoch)


def test_without_early_stopping_nothing_is_asked_or_noted(open_study):
    study = open_study(epochs=10)
    claims = [study.claim() for _ in range(3)]
    assert all(study.goes_on(claim, epoch, {"accuracy": 0.0, "spikes": 1.0}) for claim in claims for epoch in (1, 3))
    assert not any("rung" in key for trial in trials(study) for key in trial.user_attrs)


def test_between_rungs_a_trial_goes_on(open_study):
    study = open_study(**EARLY)
    one, two = study.claim(), study.claim()
    assert study.goes_on(one, 1, {"accuracy": 0.5, "spikes": 100.0})
    assert study.goes_on(two, 2, {"accuracy": 0.0, "spikes": 1e6})
    assert set(trials(study)[0].user_attrs) - set(trials(study)[1].user_attrs) == {"rung-1"}


def test_a_trial_is_stopped_at_the_rungs_of_its_own_epochs(open_study):
    study = open_study(sampler="random", settings={"train.epochs": [30]}, **EARLY)
    one, two = study.claim(), study.claim()
    assert study.goes_on(one, 27, {"accuracy": 0.5, "spikes": 100.0})
    assert not study.goes_on(two, 27, {"accuracy": 0.4, "spikes": 200.0}), "which ten epochs would not reach"


def test_a_decision_is_repeated_and_counts_once(open_study):
    study = open_study(**EARLY)
    first, second, third = (study.claim() for _ in range(3))
    assert study.goes_on(first, 1, {"accuracy": 0.5, "spikes": 100.0})
    assert not study.goes_on(second, 1, {"accuracy": 0.4, "spikes": 200.0})
    assert study.lose_all() == 3
    again = open_study(**EARLY)
    claims = [again.claim() for _ in range(3)]
    assert [c.placement for c in claims] == [first.placement, second.placement, third.placement]
    for _ in range(2):
        assert again.goes_on(claims[0], 1, {"accuracy": 0.5, "spikes": 100.0})
        assert not again.goes_on(claims[1], 1, {"accuracy": 0.4, "spikes": 200.0})
    assert sum("rung-1" in trial.user_attrs for trial in trials(again)) == 2
    assert again.goes_on(claims[2], 1, {"accuracy": 0.6, "spikes": 50.0})


def test_equal_values_let_the_first_go_on(open_study):
    study = open_study(**EARLY)
    values = {"accuracy": 0.1, "spikes": 0.0}
    assert [study.goes_on(study.claim(), 1, values) for _ in range(4)] == [True, False, False, False]


def test_values_that_are_not_finite_are_last_and_leave_the_journal_readable(open_study, tmp_path):
    study = open_study(**EARLY)
    assert study.goes_on(study.claim(), 1, {"accuracy": math.nan, "spikes": math.inf})
    assert study.goes_on(study.claim(), 1, {"accuracy": 0.0, "spikes": 1e9})
    assert not study.goes_on(study.claim(), 1, {"accuracy": math.nan, "spikes": 1.0})
    for line in (tmp_path / "study" / "study.journal").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=pytest.fail)
    again = open_study(**EARLY)
    assert trials(again)[0].user_attrs["rung-1"]["values"] == {"accuracy": None, "spikes": None}


def test_the_sampler_is_told_what_a_stopped_trial_would_have_come_to(open_study):
    study = open_study(**EARLY)
    first, second, third = (study.claim() for _ in range(3))
    assert study.goes_on(first, 1, {"accuracy": 0.5, "spikes": 100.0})
    assert not study.goes_on(second, 1, {"accuracy": 0.4, "spikes": 200.0})
    study.finish(second, Outcome(0.4, {"spikes": 200.0}, stopped=1))
    assert trials(study)[1].state == TrialState.FAIL, "nothing is known yet of the way to the end"
    study.finish(first, Outcome(0.8, {"spikes": 50.0}))
    assert not study.goes_on(third, 1, {"accuracy": 0.3, "spikes": 300.0})
    study.finish(third, Outcome(0.3, {"spikes": 300.0}, stopped=1))
    assert trials(study)[2].values == pytest.approx([0.6, 150.0])
    assert [r.outcome.stopped for r in study.results()] == [None, 1, 1]


def test_the_sampler_is_told_which_constraints_a_stopped_trial_would_have_met(open_study):
    """Of a cost that is no objective too."""
    study = open_study(constraints=["accuracy >= 0.8", "energy <= 2"], **EARLY)
    first, second = study.claim(), study.claim()
    assert study.goes_on(first, 1, {"accuracy": 0.5, "spikes": 100.0, "energy": 1.0, "parameters": 5.0})
    assert trials(study)[0].user_attrs["rung-1"]["values"] == {"accuracy": 0.5, "energy": 1.0, "spikes": 100.0}
    study.finish(first, Outcome(0.8, {"spikes": 50.0, "energy": 3.0}))
    early = {"spikes": 300.0, "energy": 2.0}
    assert not study.goes_on(second, 1, {"accuracy": 0.3, **early})
    study.finish(second, Outcome(0.3, early, stopped=1))
    told = trials(study)[1]
    assert told.values == pytest.approx([0.6, 150.0])
    assert told.constraints == pytest.approx({"accuracy >= 0.8": 0.25, "energy <= 2": 2.0})  # 0.6 and 6 µJ


def test_a_stopped_trial_whose_worker_died_before_it_said_so(open_study, monkeypatch):
    study = open_study(**EARLY)
    first = study.claim()
    study.finish(first, train(study, first))
    second = study.claim()
    assert not study.goes_on(second, 1, {"accuracy": 0.0, "spikes": 1e6})
    monkeypatch.setattr(study_module, "is_alive", lambda worker: False)
    assert study.lose_dead() == 1
    again = study.claim()
    assert again.placement == second.placement
    assert not study.goes_on(again, 1, {"accuracy": 0.0, "spikes": 1e6})
    with monkeypatch.context() as patch:
        patch.setattr(SearchStudy, "_tell", dies)
        with pytest.raises(KilledError):
            study.finish(again, Outcome(0.0, {"spikes": 1e6}, stopped=1))
    assert study.lose_dead() == 1
    assert [r.outcome.stopped for r in study.results()] == [None, 1]


def test_a_kill_between_any_two_writes_changes_no_decision(open_study, monkeypatch):
    kill_at_writes(open_study, "nsga2", monkeypatch, every=53, run=train_all, **EARLY)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_kill_at_one_write_in_three_changes_no_decision(open_study, sampler, monkeypatch):
    kill_at_writes(open_study, sampler, monkeypatch, every=3, run=train_all, **EARLY)
