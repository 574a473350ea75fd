"""An experiment that trains in a second, an MLflow store that is made once, and results written by hand."""

import functools
import io
import os
import shutil
from dataclasses import replace

import pytest
import yaml
from hypothesis import settings
from rich.console import Console

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

settings.register_profile("search", deadline=None)
settings.load_profile("search")

TINY = {
    "name": "tiny",
    "device": "cpu",
    "dataset": {"name": "digits_dvs", "steps": 4, "size": 12, "train": 60, "validation": 20, "test": 20},
    "backbone": {"name": "conv3", "widths": [4, 4, 4], "pools": [2, 2, 1], "hidden": [8]},
    "neuron": {"name": "lif"},
    "train": {"epochs": 1, "batch_size": 20, "learning_rate": 0.01},
    "search": {"sampler": "random", "trials": 4, "workers": 1, "candidates": ["none", "ta", "csa"]},
    "confirm": {"seeds": 2, "front": 2},
}


@pytest.fixture(scope="session")
def store_template(tmp_path_factory):
    """An empty MLflow store with all its tables, which take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def tiny_in(store_template):
    """``tiny_in(folder, train={"epochs": 2}, seed=1)``: the tiny experiment, changed key by key, with an MLflow store.

    Its output is ``folder/runs``; its file is ``folder/tiny.yaml``.
    """
    from quietspike.search.config import check_experiment

    def make(folder, **overrides):
        experiment = check_experiment(_tiny(folder, overrides))
        store = experiment.output / "mlflow.db"
        if not store.exists():
            experiment.output.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store_template, store)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(experiment.data), encoding="utf-8")
        return experiment

    return make


@pytest.fixture
def tiny_experiment(tmp_path, tiny_in):
    """``tiny_in`` for the test's own folder."""
    return functools.partial(tiny_in, tmp_path)


@pytest.fixture
def tiny_data(tmp_path):
    """The plain data of the tiny experiment, changed key by key; nothing is written."""
    return lambda **overrides: _tiny(tmp_path, overrides)


@pytest.fixture
def console():
    """A console that is no terminal and keeps what is printed: ``console.file.getvalue()``."""
    return Console(file=io.StringIO(), width=200, soft_wrap=True)


def _tiny(folder, overrides):
    return _merged({**TINY, "output": str(folder / "runs")}, overrides)


def _merged(data, overrides):
    merged = dict(data)
    for key, value in overrides.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


@pytest.fixture
def trial():
    """``trial(3, 0.9, 1500)``: a trial of that number, accuracy and spikes.

    ``reason`` makes it a failed one, ``stopped`` one that was stopped early.
    """
    return _trial


@pytest.fixture
def confirmation():
    """``confirmation("ta", [0.9, 0.8], [1500, 1400])``: accuracies and spikes by seed; ``None``: a mixed placement."""
    return _confirmation


@pytest.fixture
def result(tmp_path):
    """``result(trials, confirmations)``: a search that gave these, in a folder of its own."""

    def make(trials, confirmations=(), objective="spikes", reference=(), others=(), constraints=(), epochs=10):
        from quietspike.search.goals import Constraint, Goals
        from quietspike.search.pareto import find_front, hypervolume
        from quietspike.search.results import SearchResult

        goals = Goals((objective, *others), reference, tuple(map(Constraint.parse, constraints)))
        front = find_front(trials, goals)
        area = hypervolume([goals.point(t.outcome.value) for t in front], goals.corner)
        return SearchResult(tmp_path, goals, list(trials), front, area, list(confirmations), epochs)

    return make


def _outcome(accuracy, spikes):
    from quietspike.core.cost import Cost
    from quietspike.search.results import Outcome

    totals = {**Cost(()).totals, "spikes": float(spikes), "energy": spikes / 1e4, "synaptic_operations": spikes * 50.0}
    totals |= {"parameters": 1e6 / (1 + spikes), "latency": spikes / 1e3}
    return Outcome(accuracy, totals, {"block1": 0.25}, 1.5)


def _trial(number, accuracy=0.0, spikes=0.0, *, reason=None, stopped=None, placement=None):
    from quietspike.core import Placement
    from quietspike.search.design import Design
    from quietspike.search.results import Outcome, TrialResult

    chosen = {"block1.current": {"name": "ta", "temporal_reduction": number + 1}} if placement is None else placement
    outcome = Outcome.failed(reason) if reason else replace(_outcome(accuracy, spikes), stopped=stopped)
    return TrialResult(number, Design(Placement(chosen)), outcome)


def _confirmation(uniform, accuracies, spikes, *, placement=None, found=False, failures=None, seeds=None):
    from quietspike.core import Placement
    from quietspike.search.design import Design
    from quietspike.search.results import Confirmation

    chosen = ({} if uniform == "none" else {"block1.current": uniform or "sa"}) if placement is None else placement
    outcomes = [_outcome(accuracy, cost) for accuracy, cost in zip(accuracies, spikes, strict=True)]
    numbered = dict(zip(seeds or range(1, len(outcomes) + 1), outcomes, strict=True))
    return Confirmation(Design(Placement(chosen)), numbered, uniform, found, failures or {})


@pytest.fixture
def made_up_table():
    """``made_up_table(experiment, seeds=1)``: writes ``search.table``, of figures that were made up.

    Accuracy and spikes follow from how many letters the names of a placement's attention have, and where.
    """
    return _made_up_table


def _made_up_table(experiment, seeds=1, noise=0.01):
    from quietspike.search.results import Outcome
    from quietspike.search.space import open_space
    from quietspike.search.tabulation import Entry, Table, write_table

    space, entries = open_space(experiment), []
    for index, design in enumerate(space.shuffled(0, int(space.size))):
        weights = [len(label) * (site + 1) for site, label in enumerate(space.labels(design).values())]
        weight = sum(weights)
        for seed in range(experiment.seed, experiment.seed + seeds):
            shake = noise * ((index * 7919 + seed * 104729) % 101 / 50 - 1)
            accuracy = [
                min(1.0, 0.3 + 0.5 * weight / (weight + 20) + 0.02 * epoch + shake)
                for epoch in range(experiment.train.epochs)
            ]
            spikes = [
                1e4 / (1 + 0.1 * sum(weights[::2])) * (1 + 0.1 / (epoch + 1) + shake) for epoch in range(len(accuracy))
            ]
            curve = {"accuracy": accuracy, "spikes": spikes, "energy": [s / 1e4 for s in spikes]}
            curve |= {"synaptic_operations": [50 * s for s in spikes], "parameters": [100.0] * len(spikes)}
            curve |= {"firing_rate/block1": [s / 1e5 for s in spikes], "seconds": [1.0] * len(spikes)}
            totals = {name: 1.01 * values[-1] for name, values in curve.items() if name not in NO_TOTALS}
            outcome = Outcome(accuracy[-1] - 0.01, totals, {"block1": 0.25}, float(len(spikes)), curve=curve)
            entries.append(Entry(design.placement, seed, outcome))
    write_table(experiment.search.table, Table.empty(experiment, space).with_entries(entries, {"made": "up"}))


NO_TOTALS = ("accuracy", "firing_rate/block1", "seconds")
