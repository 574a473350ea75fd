"""The confirmation: paired seeds, the test split for it alone, failures and interruptions."""

import json

import pytest
from filelock import FileLock

from quietspike.core import Choice, Placement, UnknownNameError
from quietspike.search import execution
from quietspike.search.confirmation import BEGUN, Task, collect_confirmations, plan_confirmation
from quietspike.search.design import Design
from quietspike.search.job import Job
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.searching import collect_result
from quietspike.search.space import open_space
from quietspike.search.tracking import open_tracker


@pytest.fixture
def job(tiny_experiment):
    experiment = tiny_experiment(search={"uniform_first": False, "trials": 3}, confirm={"seeds": 2, "front": 1})
    experiment.folder.mkdir(parents=True)
    return Job(experiment, open_space(experiment), open_tracker(experiment, {}))


@pytest.fixture
def splits_read(monkeypatch):
    """The names of the splits that trainings ask for."""
    names = []

    class Watched:
        def __init__(self, dataset):
            self.dataset = dataset

        def __getattr__(self, name):
            return getattr(self.dataset, name)

        def split(self, name):
            names.append(name)
            return self.dataset.split(name)

    open_dataset = execution.open_dataset
    monkeypatch.setattr(execution, "open_dataset", lambda experiment: Watched(open_dataset(experiment)))
    return names


def trial(number, placement, accuracy, spikes):
    return TrialResult(number, Design(placement), Outcome(accuracy, {"spikes": spikes}))


def test_the_test_split_is_measured_in_the_confirmation_alone(job, splits_read):
    study = job.open_study()
    for claim in iter(study.claim, None):
        job.run_trial(study, claim, 0)
    assert len(study.results()) == 3
    assert set(splits_read) == {"train", "validation"}
    splits_read.clear()
    task = Task(Design(Placement()), 1)
    task.run(job, 0)
    assert splits_read.count("test") == 1
    outcome = task.outcome(job.folder)
    [run] = confirmation_runs(job)
    metrics = run.data.metrics
    assert (metrics["test_accuracy"], metrics["test_spikes"]) == (outcome.accuracy, outcome.totals["spikes"])
    assert run.data.params["seed"] == "1"


def test_seeds_are_paired_and_none_is_that_of_the_search(job):
    plan = plan_confirmation(job.experiment, job.space, [])
    seeds = {}
    for task in plan.tasks:
        seeds.setdefault(task.design.placement, []).append(task.seed)
    assert set(seeds) == set(job.space.uniform.values())
    assert all(own == [1, 2] for own in seeds.values())
    assert job.experiment.seed not in (1, 2)
    assert [task.seed for task in plan.tasks] == [1, 1, 1, 2, 2, 2], "an early stop leaves pairs"


def test_the_uniform_placements_take_no_place_of_the_others(job):
    none, mixed, other = Placement(), Placement({"block1.current": "ta"}), Placement({"block2.current": "ta"})
    front = [trial(0, none, 0.5, 10.0), trial(1, mixed, 0.9, 20.0), trial(2, other, 0.4, 30.0)]
    plan = plan_confirmation(job.experiment.model_copy(update={"confirm": two_of_front(job)}), job.space, front)
    assert plan.best == [Design(mixed), Design(other)]
    assert plan.designs == [Design(placement) for placement in (*job.space.uniform.values(), mixed, other)]


def test_a_uniform_placement_of_the_front_keeps_its_name(job):
    options = job.experiment.confirm.model_copy(update={"uniform": ("ta",), "front": 1})
    experiment = job.experiment.model_copy(update={"confirm": options})
    plan = plan_confirmation(experiment, job.space, [trial(0, Placement(), 0.5, 10.0)])
    assert (plan.uniform, plan.best) == ([Design(job.space.uniform["ta"])], [Design(Placement())])
    for task in plan.tasks:
        task.record(job, Outcome(0.5, {"spikes": 10.0}))
    assert {(c.uniform, c.found) for c in collect_confirmations(experiment, plan)} == {("none", True), ("ta", False)}


def two_of_front(job):
    return job.experiment.confirm.model_copy(update={"front": 2})


def test_a_candidate_that_is_none_is_refused(job):
    options = job.experiment.confirm.model_copy(update={"uniform": ("tca",)})
    with pytest.raises(UnknownNameError, match=r"confirm\.uniform: no 'tca'; did you mean 'ta'\?"):
        plan_confirmation(job.experiment.model_copy(update={"confirm": options}), job.space, [])


def test_what_has_ended_is_not_run_again(job, monkeypatch):
    task = Task(Design(Placement()), 1)
    kept = Outcome(0.5, {"spikes": 1.0})
    task.record(job, kept)
    monkeypatch.setattr(Job, "attempt", None)
    task.run(job, 0)
    assert task.outcome(job.folder) == kept


def test_what_another_worker_has_begun_is_left_to_it(job, monkeypatch):
    task = Task(Design(Placement()), 1)
    folder = task.folder(job.folder)
    folder.mkdir(parents=True)
    monkeypatch.setattr(Job, "attempt", None)
    with FileLock(folder / "lock"):
        (folder / BEGUN).touch()
        task.run(job, 0)
        assert not task.abandoned(job)
    assert task.abandoned(job), "now its worker is dead"
    assert not task.abandoned(job), "asking resets it"


def test_an_outcome_is_never_taken_for_abandoned(job):
    task = Task(Design(Placement()), 1)
    task.record(job, Outcome(0.5, {"spikes": 1.0}))
    (task.folder(job.folder) / BEGUN).touch()  # killed between the two
    assert not task.abandoned(job)
    assert not (task.folder(job.folder) / BEGUN).exists()


def test_asking_what_was_abandoned_makes_no_folders(job):
    assert not Task(Design(Placement()), 1).abandoned(job)
    assert not (job.folder / "confirm").exists()


def test_failing_seeds_are_reported(job, monkeypatch):
    def attempt(self, training, *args, **options):
        if training.placement == self.space.uniform["csa"] or training.seed == 2:
            return Outcome.failed(f"ValueError: seed {training.seed}")
        return Outcome(0.5, {"spikes": 100.0 + len(training.placement)})

    monkeypatch.setattr(Job, "attempt", attempt)
    plan = plan_confirmation(job.experiment, job.space, [])
    for task in plan.tasks:
        task.run(job, 0)
    none, ta, csa = collect_confirmations(job.experiment, plan)
    assert [c.uniform for c in (none, ta, csa)] == ["none", "ta", "csa"]
    assert (list(none.outcomes), dict(none.failures)) == ([1], {2: "ValueError: seed 2"})
    assert (dict(csa.outcomes), dict(csa.failures)) == ({}, {1: "ValueError: seed 1", 2: "ValueError: seed 2"})
    result = collect_result(job.experiment, job.space, job.open_study())
    assert result.best == none


def test_an_attempt_that_raises_keeps_its_traceback(job, monkeypatch):
    def breaks(*args, **options):
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr("quietspike.search.job.run_training", breaks)
    task = Task(Design(Placement()), 1)
    task.run(job, 0)
    assert task.outcome(job.folder).reason == "ValueError: first line"
    folder = task.folder(job.folder)
    assert "second line" in (folder / "error.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "outcome.json").read_text(encoding="utf-8"))["accuracy"] is None
    [run] = confirmation_runs(job)
    assert run.info.status == "FAILED"
    assert run.data.tags["quietspike.reason"] == "ValueError: first line"


def test_what_was_measured_must_be_finite(job, monkeypatch):
    def evaluate(*args, **options):
        shown = real(*args, **options)
        object.__setattr__(shown, "accuracy", float("nan"))
        return shown

    real = execution.evaluate
    monkeypatch.setattr(execution, "evaluate", evaluate)
    task = Task(Design(Placement({"block1.current": Choice("ta")})), 1)
    task.run(job, 0)
    assert task.outcome(job.folder).reason == "DivergedError: accuracy is nan after the last epoch"


def confirmation_runs(job):
    from mlflow import MlflowClient

    query = "tags.`quietspike.kind` = 'confirmation'"
    sender = job.tracker.sender()
    sender.send()
    return MlflowClient(job.tracker.uri).search_runs([sender.connect()], query)
