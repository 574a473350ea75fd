"""A search that a table answers: the same path as any other, without a training."""

import json
import math

import pytest
from mlflow import MlflowClient

from quietspike.core import OptionError, Placement
from quietspike.core.errors import UnknownNameError
from quietspike.search.cli import main
from quietspike.search.searching import read_search, run_search
from quietspike.search.tabulation import read_table

SHAPE = {
    "train": {"epochs": 9},
    "search": {"engine": "tabular", "sites": ["block1.current", "block2.current"], "trials": 6},
    "confirm": {"seeds": 1, "front": 2, "uniform": []},
}


@pytest.fixture
def replayed(tiny_experiment, made_up_table, tmp_path):
    """``replayed(seeds=2, search={...})``: an experiment whose table was made up."""

    def make(seeds=2, **keys):
        search = {**SHAPE["search"], "table": str(tmp_path / "table.jsonl.xz"), **keys.pop("search", {})}
        experiment = tiny_experiment(**{**SHAPE, "search": search, **keys})
        if experiment.search.table is not None and not experiment.search.table.exists():
            made_up_table(experiment, seeds)
        return experiment

    return make


def logged(experiment, kind):
    client = MlflowClient(f"sqlite:///{experiment.output / 'mlflow.db'}")
    ids = [group.experiment_id for group in client.search_experiments()]
    return client, list(client.search_runs(ids, f"tags.`quietspike.kind` = '{kind}'"))


def test_its_trials_are_the_tables_validation_and_its_confirmations_the_test(replayed):
    experiment = replayed()
    result = run_search(experiment)
    table = read_table(experiment.search.table)
    assert len(result.trials) == 6
    for trial in result.trials:
        entry = table.entries[trial.placement, 0]
        assert trial.outcome.accuracy == entry.outcome.curve["accuracy"][-1]
        assert trial.outcome.totals["spikes"] == entry.outcome.curve["spikes"][-1]
        assert trial.outcome.rates == {"block1": entry.outcome.curve["firing_rate/block1"][-1]}
    assert result.confirmations
    for confirmation in result.confirmations:
        [(seed, outcome)] = confirmation.outcomes.items()
        assert seed == 1
        assert outcome.accuracy == table.entries[confirmation.placement, 1].outcome.accuracy
    assert [t.outcome for t in read_search(experiment).trials] == [t.outcome for t in result.trials]


def test_mlflow_has_every_epoch(replayed):
    experiment = replayed()
    result = run_search(experiment)
    client, runs = logged(experiment, "trial")
    assert len(runs) == 6
    by_label = {run.data.tags["mlflow.runName"].partition(": ")[2]: run for run in runs}
    table = read_table(experiment.search.table)
    for trial in result.trials:
        run = by_label[trial.placement.label]
        curve = table.entries[trial.placement, 0].outcome.curve
        history = client.get_metric_history(run.info.run_id, "spikes")
        assert [(m.step, m.value) for m in history] == list(enumerate(curve["spikes"], 1))
        assert run.info.status == "FINISHED"


def test_it_stops_early_as_other_engines_do(replayed):
    experiment = replayed(search={"trials": 9, "early_stopping": {"min_epochs": 1, "reduction": 3}})
    result = run_search(experiment)
    stopped = [trial for trial in result.trials if trial.outcome.stopped is not None]
    assert stopped
    table = read_table(experiment.search.table)
    _, runs = logged(experiment, "trial")
    assert sum(run.info.status == "KILLED" for run in runs) == len(stopped)
    for trial in stopped:
        epoch = trial.outcome.stopped
        assert epoch in (1, 3)
        assert trial.outcome.accuracy == table.entries[trial.placement, 0].outcome.curve["accuracy"][epoch - 1]
        assert trial not in result.front


def test_an_interrupted_search_goes_on_to_the_same(replayed, monkeypatch, tmp_path):
    from quietspike.search.study import SearchStudy

    whole = run_search(replayed(output=str(tmp_path / "whole"), search={"sampler": "gp", "trials": 9}))
    finish, count = SearchStudy.finish, [0]

    def interrupted(study, claim, outcome):
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        finish(study, claim, outcome)

    monkeypatch.setattr(SearchStudy, "finish", interrupted)
    experiment = replayed(search={"sampler": "gp", "trials": 9})
    with pytest.raises(KeyboardInterrupt):
        run_search(experiment)
    result = run_search(experiment)
    assert [t.placement for t in result.trials] == [t.placement for t in whole.trials]


def test_another_seed_is_another_search_on_the_same_figures(replayed):
    first = run_search(replayed())
    second = run_search(replayed(seed=5))
    assert [t.placement for t in first.trials] != [t.placement for t in second.trials]
    shared = {t.placement: t.outcome.totals for t in first.trials}
    assert any(t.placement in shared for t in second.trials)
    assert all(t.outcome.totals == shared.get(t.placement, t.outcome.totals) for t in second.trials)


def test_what_the_table_lacks_fails_and_says_why(replayed):
    experiment = replayed(seeds=1)
    result = run_search(experiment)
    reasons = [reason for c in result.confirmations for reason in c.failures.values()]
    assert len(reasons) == 2
    assert all(f"{experiment.search.table}: has no training of " in reason for reason in reasons)
    assert all(reason.endswith(" with seed 1") for reason in reasons)


@pytest.mark.parametrize(
    ("keys", "error", "line"),
    [
        ({"train": {"epochs": 5}}, OptionError, "is a table of train.epochs 9, not 5"),
        ({"dataset": {"size": 14}}, OptionError, "is a table of dataset.size 12, not 14"),
        ({"backbone": {"hidden": [9]}}, OptionError, "is a table of backbone.hidden [8], not [9]"),
        ({"search": {"candidates": ["none", "tca"]}}, UnknownNameError, "choices.block1.current: no 'tca'"),
        ({"search": {"sites": ["block3.current"]}}, UnknownNameError, "choices.block3.current: no 'ta'"),
        ({"search": {"objectives": ["accuracy", "latency"]}}, UnknownNameError, "figures: no 'latency'"),
    ],
)
def test_an_experiment_that_the_table_cannot_answer_is_refused_before_anything_is_begun(replayed, keys, error, line):
    table = replayed().search.table
    experiment = replayed(**keys)
    with pytest.raises(error) as caught:
        run_search(experiment)
    assert str(caught.value).startswith(f"{table}: {line}")
    assert not experiment.folder.exists()


def test_a_search_of_settings_is_refused_before_anything_is_begun(replayed):
    experiment = replayed(search={"settings": {"neuron.decay": [0.3, 0.5]}})
    with pytest.raises(OptionError, match=r"^search\.settings: neuron\.decay: a table holds placements alone$"):
        run_search(experiment)
    assert not experiment.folder.exists()


def test_some_of_its_sites_and_candidates_may_be_searched(replayed):
    replayed()
    result = run_search(
        replayed(search={"sites": ["block2.current"], "candidates": ["csa", "none"]}, confirm={"seeds": 0})
    )
    assert {trial.placement for trial in result.trials} == {Placement(), Placement({"block2.current": "csa"})}


def test_mistakes_are_one_line(replayed, tmp_path, capsys):
    replayed(search={"table": None})
    assert main(["search", str(tmp_path / "tiny.yaml")]) == 2
    said = capsys.readouterr().err
    assert said == "quietspike: search.table: missing; it names the table that search.engine: tabular replays\n"
    assert main(["search", str(tmp_path / "tiny.yaml"), "--search.table", "nowhere"]) == 2
    assert capsys.readouterr().err == "quietspike: nowhere: cannot be read: No such file or directory\n"


def test_what_failed_there_fails_here(replayed):
    from quietspike.search.results import Outcome
    from quietspike.search.tabulation import write_table

    experiment = replayed(search={"trials": 9})
    table = read_table(experiment.search.table)
    broken = table.entries[Placement({"block1.current": "ta"}), 0]._replace(outcome=Outcome.failed("it diverged"))
    write_table(experiment.search.table, table.with_entries([broken], {"made": "up"}))
    failed = [t for t in run_search(experiment).trials if t.outcome.reason is not None]
    assert [t.placement for t in failed] == [broken.placement]
    assert failed[0].outcome.reason.endswith("it failed there: it diverged")
    assert math.isnan(failed[0].outcome.accuracy)
    assert json.dumps(failed[0].outcome.data)
