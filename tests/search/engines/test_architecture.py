"""A whole search over attention, neuron, backbone, steps and recipe, as its example in experiments/ does it."""

import json
import math
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from quietspike.search.config import check_experiment
from quietspike.search.design import Design
from quietspike.search.opening import open_weights
from quietspike.search.searching import run_search
from quietspike.search.single import read_design, train_design

EXAMPLE = Path(__file__).resolve().parents[3] / "experiments" / "architecture-digits.yaml"
SMALL = {"name": "digits_dvs", "steps": 6, "size": 12, "train": 60, "validation": 20, "test": 20}


@pytest.fixture(scope="module")
def tiny_example(tmp_path_factory, store_template):
    """The example with a tiny budget, and a bound that half of so short trainings meet."""
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert {"neuron.name", "neuron.decay", "backbone.widths", "dataset.steps", "train.loss"} <= data["search"][
        "settings"
    ].keys()
    folder = tmp_path_factory.mktemp("architecture") / "runs"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(store_template.read_bytes())
    search = {**data["search"], "trials": 6, "population": 4, "workers": 1, "constraints": ["accuracy >= 0.05"]}
    search["objectives"] = ["accuracy", "spikes", "parameters", "latency"]
    changes = {"dataset": SMALL, "train": {**data["train"], "epochs": 1, "batch_size": 20}, "search": search}
    confirm = {"seeds": 1, "front": 2, "uniform": ["none", "ta"]}
    return check_experiment({**data, **changes, "confirm": confirm, "output": str(folder), "device": "cpu"})


@pytest.mark.slow
def test_both_engines_try_the_same_designs(tiny_example):
    pytest.importorskip("ray", reason="ray is an extra of quietspike-search")
    tried = []
    for engine in ("optuna", "ray"):
        objectives = ["accuracy", "spikes", "parameters"]  # latency is never the same twice
        changes = {"engine": engine, "objectives": objectives, "constraints": ["spikes <= 500"], "trials": 10}
        data = {**tiny_example.data, "search": {**tiny_example.data["search"], **changes}, "name": engine}
        tracking = {"experiment": "both engines"}
        result = run_search(check_experiment({**data, "confirm": {"seeds": 0}, "tracking": tracking}))
        tried.append([(t.design, t.outcome.accuracy, dict(t.outcome.totals)) for t in result.trials])
    assert tried[0] == tried[1]
    assert any(design.settings["neuron.name"] == "plif" for design, *_ in tried[0])


@pytest.fixture(scope="module")
def found(tiny_example):
    return run_search(tiny_example)


@pytest.mark.slow
def test_it_searches_and_confirms_designs_with_their_settings(found, tiny_example):
    assert len(found.trials) == 6
    assert [trial.outcome.reason for trial in found.trials] == [None] * 6
    assert len({trial.design for trial in found.trials}) == 6
    assert all(
        ("neuron.decay" in t.design.settings) == (t.design.settings["neuron.name"] == "lif") for t in found.trials
    )
    assert all(0 < trial.outcome.totals["latency"] < 1e4 for trial in found.trials)
    assert all(trial.outcome.accuracy >= 0.05 for trial in found.front)
    uniform = [c.design for c in found.confirmations if c.uniform is not None]
    assert all(design.settings == {} for design in uniform)
    assert any(c.design.settings for c in found.confirmations)
    assert math.isfinite(found.hypervolume)
    widths = {json.dumps(t.design.settings["backbone.widths"]): t.outcome.totals["parameters"] for t in found.trials}
    assert len(set(widths.values())) == len(widths) > 1, "the networks differ"


@pytest.mark.slow
def test_mlflow_shows_the_settings(found, tiny_example):
    client = MlflowClient(f"sqlite:///{tiny_example.output / 'mlflow.db'}")
    [group] = [e.experiment_id for e in client.search_experiments() if e.name == "quietspike"]
    runs = client.search_runs([group], "tags.`quietspike.kind` = 'trial'")
    shown = [{k: v for k, v in run.data.params.items() if k.startswith("set.")} for run in runs]
    expected = [
        {f"set.{k}": v if isinstance(v, str) else json.dumps(v) for k, v in trial.design.settings.items()}
        for trial in found.trials
    ]
    assert sorted(map(json.dumps, map(dict, map(sorted, map(dict.items, shown))))) == sorted(
        map(json.dumps, map(dict, map(sorted, map(dict.items, expected))))
    )
    lif = client.search_runs([group], "params.`set.neuron.name` = 'lif'")
    assert {"set.neuron.decay" in run.data.params for run in lif} == {True}


@pytest.mark.slow
def test_a_file_of_the_front_is_trained_again_to_the_same_figures(found, tiny_example, console):
    file = sorted((found.folder / "front").glob("*.yaml"))[0]
    design = read_design(str(file), tiny_example)
    trial = next(trial for trial in found.front if trial.design == design)
    assert design.settings
    assert Design.of(yaml.safe_load(file.read_text(encoding="utf-8"))) == design
    weights = open_weights(found.folder / "trials" / design.digest / "weights.safetensors")
    assert weights.placement == design.placement
    assert weights.experiment.backbone.data["widths"] == design.settings["backbone.widths"]
    train_design(tiny_example, design, console)
    again = open_weights(tiny_example.folder / "train" / f"{design.digest}-seed0" / "weights.safetensors")
    own, other = (dict(w.network.state_dict()) for w in (weights, again))
    assert all((own[name] == other[name]).all() for name in own), f"not what trial {trial.number} gave"
