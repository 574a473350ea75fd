import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from quietspike.core import OptionError, Placement, QuietspikeError, UnknownNameError
from quietspike.core.weights import load_tensors
from quietspike.search import single
from quietspike.search.design import Design
from quietspike.search.single import evaluate_weights, read_design, train_design
from quietspike.search.space import open_space
from quietspike.search.tracking import open_tracker, tracking_uri

BLOCKS = ["block1.current", "block2.current", "block3.current"]

# which placement is meant


@pytest.mark.parametrize("name", ["none", "ta", "csa"])
@pytest.mark.parametrize("sites", [["*.current"], ["block*.current"], ["block1.input", "fc1.current"]])
def test_a_candidates_name_means_what_the_report_calls_so_everywhere(tiny_experiment, name, sites):
    experiment = tiny_experiment(search={"sites": sites})
    assert read_design(name, experiment) == Design(open_space(experiment).uniform[name])


def test_what_is_no_candidate_stands_at_the_searched_sites_too(tiny_experiment):
    experiment = tiny_experiment(search={"sites": ["block*.current"]})
    assert read_design("sa", experiment) == Design(Placement(dict.fromkeys(BLOCKS, "sa")))
    assert read_design("none", tiny_experiment(search={"candidates": ["ta"]})) == Design(Placement({}))


def test_a_candidate_may_be_named_as_it_is_printed(tiny_experiment):
    candidates = ["none", {"name": "ca", "channel_reduction": [2, 4]}]
    experiment = tiny_experiment(search={"sites": ["block*.current"], "candidates": candidates})
    assert {"ca(channel_reduction=2)", "ca(channel_reduction=4)"} <= set(open_space(experiment).uniform)
    expected = Placement({site: {"name": "ca", "channel_reduction": 2} for site in BLOCKS})
    assert read_design("ca(channel_reduction=2)", experiment) == Design(expected)
    with pytest.raises(UnknownNameError) as refused:
        read_design("ca(channel_reduction=24)", experiment)
    assert str(refused.value) == ("candidate: no 'ca(channel_reduction=24)'; did you mean 'ca(channel_reduction=4)'?")


def test_a_file_may_name_sites_that_are_not_searched(tiny_experiment, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("block1.input: ca\n")
    experiment = tiny_experiment(search={"sites": ["block*.current"]})
    assert read_design(str(path), experiment) == Design(Placement({"block1.input": "ca"}))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("block1.curent: ta", UnknownNameError, "site: no 'block1.curent'; did you mean 'block1.current'?"),
        ("block1.current: tcas", UnknownNameError, "attention: no 'tcas'; did you mean 'tcsa'?"),
        ("block1.current: 3", OptionError, "block1.current: expected a name or a mapping with a name, not 3"),
        (
            "block1.current: ta\nblock1.current: ca",
            OptionError,
            "line 2: no YAML: the key 'block1.current' comes twice",
        ),
    ],
)
def test_a_mistake_in_a_file_names_the_file(tiny_experiment, tmp_path, text, kind, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(kind) as refused:
        read_design(str(path), tiny_experiment())
    assert str(refused.value) == f"{path}: {message}"


# training


def runs(experiment):
    """Kind, status and parameters of MLflow's runs, the youngest first."""
    client = MlflowClient(tracking_uri(experiment))
    found = client.search_runs([group.experiment_id for group in client.search_experiments()])
    return [(run.data.tags["quietspike.kind"], run.info.status, run.data.params) for run in found]


def test_a_training_is_one_run_with_its_configuration_and_its_sites(tiny_experiment, console):
    experiment = tiny_experiment(seed=2)
    train_design(experiment, Design(Placement({"block1.current": "ta"})), console)
    [(kind, status, params)] = runs(experiment)
    assert (kind, status) == ("training", "FINISHED")
    sites = dict.fromkeys(open_space(experiment).choices, "none") | {"block1.current": "ta"}
    assert {f"site.{name}": label for name, label in sites.items()}.items() <= params.items()
    assert {"seed": "2", "train.learning_rate": "0.01", "backbone.name": "conv3"}.items() <= params.items()


@pytest.mark.parametrize(("error", "status"), [(QuietspikeError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_training_that_fails_leaves_the_search_finished(tiny_experiment, console, monkeypatch, error, status):
    def run_training(*_, **__):
        raise error

    experiment = tiny_experiment()
    open_tracker(experiment, {}).parent.end("FINISHED")
    monkeypatch.setattr(single, "run_training", run_training)
    with pytest.raises(type(error)):
        train_design(experiment, Design(Placement({})), console)
    assert [run[:2] for run in runs(experiment)] == [("training", status), ("search", "FINISHED")]


def test_a_training_has_the_searchs_threads_and_gives_them_back(tiny_experiment, console, monkeypatch):
    seen = []
    run_training = single.run_training

    def look(*args, **options):
        seen.append(torch.get_num_threads())
        return run_training(*args, **options)

    monkeypatch.setattr(single, "run_training", look)
    before = torch.get_num_threads()
    train_design(tiny_experiment(search={"threads": before + 2}), Design(Placement({})), console)
    assert seen == [before + 2]
    assert torch.get_num_threads() == before


def test_paths_that_look_like_markup_are_printed_as_they_are(tiny_experiment, tmp_path, console):
    experiment = tiny_experiment(output=str(tmp_path / "runs[/old]"))
    placement = Placement({"block1.current": "ta"})
    train_design(experiment, Design(placement), console)
    [weights] = (experiment.folder / "train").glob("*/weights.safetensors")
    assert console.file.getvalue().endswith(f"Weights: {weights}\n")
    evaluate_weights(weights, [], "test", console)


def test_retraining_a_placement_of_the_front_gives_its_trial_bit_for_bit(tiny_experiment, tmp_path):
    """As a user does it, whose torch takes a thread for each core unless it is told otherwise."""
    experiment = tiny_experiment(
        dataset={"size": 20, "train": 128},
        backbone={"widths": [8, 8, 8]},
        train={"batch_size": 64, "epochs": 2},
        search={"trials": 1, "candidates": ["tcsa"]},
        confirm={"seeds": 0},
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [Path(sys.executable).with_name("quietspike")]

    def call(*words):
        done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    call("search", tmp_path / "tiny.yaml")
    [front] = (experiment.folder / "front").iterdir()
    call("train", tmp_path / "tiny.yaml", "--placement", front)
    trial, training = (
        load_tensors(next((experiment.folder / part).glob("*/weights.safetensors"))) for part in ("trials", "train")
    )
    assert json.dumps(training[1]) == json.dumps(trial[1])
    assert all(torch.equal(tensor, trial[0][name]) for name, tensor in training[0].items())
