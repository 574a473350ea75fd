import contextlib
import errno
import io
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

import psutil
import pytest
import safetensors.torch
import torch
import yaml

from quietspike.core import ATTENTION, BACKBONES, COMMANDS, DATASETS, ENGINES, NEURONS, Placement
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.networks import build_network
from quietspike.core.weights import load_tensors, load_weights, save_tensors
from quietspike.search.cli import main
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset

OWN_COMMANDS = ["search", "train", "evaluate", "analyse", "report", "sites", "list", "ui"]


@pytest.fixture
def tiny_yaml(tiny_experiment, tmp_path):
    """A tiny experiment's file, with an MLflow store ready in its output folder."""

    def write(**overrides):
        tiny_experiment(**overrides)
        return tmp_path / "tiny.yaml"

    return write


@pytest.fixture
def say(capsys):
    """Run a command in this process; gives its exit code, and the lines of stdout and stderr."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:  # --help
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture
def mistake(say):
    """The one line that a mistaken command prints."""

    def run(*words):
        code, out, err = say(*words)
        assert (code, out, len(err)) == (2, [], 1), (code, out, err)
        assert err[0].startswith("quietspike: ")
        return err[0].removeprefix("quietspike: ")

    return run


# help, list, sites


def test_help_names_the_commands(say):
    code, out, _ = say("--help")
    assert code == 0
    assert all(any(line.strip().startswith(f"{command} ") for line in out) for command in OWN_COMMANDS)


@pytest.mark.parametrize("command", ["search", "train", "report", "sites", "ui"])
def test_help_of_a_command_names_the_keys(say, command):
    code, out, _ = say(command, "--help")
    assert code == 0
    text = "\n".join(out)
    for key in ("--seed: 0", "--dataset: required", "--train.epochs: 10", "--search.sampler: ", "--tracking.uri: null"):
        assert key in text
    assert "_pydantic" not in text


def test_a_command_of_another_package_gets_what_stands_behind_it(say, mistake, monkeypatch):
    def greet(words, console):
        console.print(" ".join(words))
        return 3

    COMMANDS.register("greet", greet)
    try:
        assert say("greet", "--some", "words") == (3, ["--some words"], [])
        assert "    greet     quietspike greet --help (registered in this process)" in say("--help")[1]
        assert mistake("great") == "command: no 'great'; did you mean 'greet'?"
    finally:
        COMMANDS._registered.clear()
    monkeypatch.setattr(COMMANDS, "_found", dict)
    assert mistake("data", "list") == "command: no 'data': pip install quietspike-datasets"


def test_version_is_that_of_the_distribution(say):
    assert say("--version") == (0, [f"quietspike-search {version('quietspike-search')}"], [])


def test_list_shows_every_plugin_and_who_brings_it(say):
    code, out, err = say("list")
    assert (code, err) == (0, [])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out if "│" in line]
    shown = {(kind, name): owner for kind, name, owner in rows}
    for registry in (ATTENTION, BACKBONES, DATASETS, ENGINES, NEURONS):
        for name in registry.names():
            assert shown.pop((registry.kind, name)) == registry.owner(name)
    assert not shown


def test_list_says_what_to_install(say, monkeypatch):
    monkeypatch.setattr(ATTENTION, "_found", dict)
    code, out, _ = say("list")
    assert code == 0
    assert any("attention" in line and "pip install quietspike-attention" in line for line in out)


def test_sites_shows_what_may_stand_where(say, tiny_yaml):
    code, out, err = say("sites", tiny_yaml())
    assert (code, err) == (0, [])
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out if "│" in line]
    assert rows == [
        ["block1.input", "input", "4", "2", "yes", "not searched"],
        ["block1.current", "current", "4", "4", "yes", "none, ta, csa"],
        ["block1.membrane", "membrane", "1", "4", "yes", "not searched"],
        ["block2.input", "input", "4", "4", "yes", "not searched"],
        ["block2.current", "current", "4", "4", "yes", "none, ta, csa"],
        ["block2.membrane", "membrane", "1", "4", "yes", "not searched"],
        ["block3.input", "input", "4", "4", "yes", "not searched"],
        ["block3.current", "current", "4", "4", "yes", "none, ta, csa"],
        ["block3.membrane", "membrane", "1", "4", "yes", "not searched"],
        ["fc1.current", "current", "4", "8", "no", "none, ta"],
        ["fc1.membrane", "membrane", "1", "8", "no", "not searched"],
        ["fc2.current", "current", "4", "10", "no", "none, ta"],
        ["fc2.membrane", "membrane", "1", "10", "no", "not searched"],
    ]
    assert any("108 placements" in line for line in out)


def test_sites_shows_those_of_other_networks_of_the_space_too(say, tiny_yaml):
    pools = "{choices: [[1, 1, 1, 1]], when: {backbone.widths: [[4, 4, 4, 4]]}}"
    settings = f"{{backbone.widths: [[4, 4, 4], [4, 4, 4, 4]], backbone.pools: {pools}}}"
    code, out, err = say("sites", tiny_yaml(), "--search.settings", settings)
    assert (code, err) == (0, [])
    names = [line.split("│")[1].strip() for line in out if "│" in line]
    assert names[-3:] == ["fc2.current", "fc2.membrane", "block4.current"]


def test_options_may_stand_before_the_file(say, tiny_yaml):
    path = tiny_yaml()
    for words in (["--search.sites", "['fc*.current']", path], [path, "--search.sites=['fc*.current']"]):
        code, out, _ = say("sites", *words)
        assert code == 0
        assert any("4 placements" in line for line in out)


def test_without_a_file_it_is_the_embedded_default(say):
    code, out, _ = say("sites", "--dataset.steps", "3")
    assert code == 0
    assert any("block1.current" in line and "│ 3 " in line and "tcsa" in line for line in out)


# train and evaluate


@dataclass(frozen=True)
class Done:
    """What a command has done."""

    code: int
    lines: list[str]
    experiment: Experiment

    @property
    def yaml(self):
        return self.experiment.output.parent / "tiny.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_in):
    """A training, as the command line does it."""
    few_a_step = {"batch_size": 6, "learning_rate": 0.03}  # so that the last layer spikes after one epoch
    experiment = tiny_in(tmp_path_factory.mktemp("trained"), train=few_a_step)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(["train", str(experiment.output.parent / "tiny.yaml"), "--placement", "ta"])
    return Done(code, out.getvalue().splitlines(), experiment)


@pytest.fixture
def weights(trained):
    [path] = (trained.experiment.folder / "train").glob("*/weights.safetensors")
    return path


def cells(lines, title):
    """The rows of a printed table, by their first cell."""
    rows = [
        [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]] for line in lines if line[:1] in tuple("│┃")
    ]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows if row and row[0] != title}


def number(text):
    return float(text.replace(",", ""))


def test_a_training_prints_its_epochs_its_test_and_its_weights(trained, weights):
    assert trained.code == 0
    epoch, test, where = trained.lines
    assert re.fullmatch(
        r"epoch 1: train loss \d\.\d{4}, validation loss \d\.\d{4}, accuracy \d\.\d{4}, [\d,]+ spikes, [\d.]+ s", epoch
    )
    assert re.fullmatch(r"Test: accuracy \d\.\d{3}, [\d,]+ spikes", test)
    assert where == f"Weights: {weights}"
    assert [path.name for path in weights.parent.iterdir()] == ["weights.safetensors"]


def test_a_training_has_the_placement_everywhere(trained, weights):
    _, record = load_tensors(weights)
    assert record["placement"] == {f"{layer}.current": "ta" for layer in ("block1", "block2", "block3", "fc1", "fc2")}
    assert record["seed"] == 0


def test_evaluation_agrees_with_the_training_and_with_the_library(trained, weights, say):
    code, lines, err = say("evaluate", weights)
    assert (code, err) == (0, [])
    tensors, record = load_tensors(weights)
    experiment = trained.experiment
    dataset = open_dataset(experiment)
    network = build_network(
        experiment.backbone.data, experiment.neuron.data, Placement(record["placement"]), dataset, seed=123
    )
    load_weights(network, tensors, "test")
    shown = evaluate(network, Batches(dataset.split("test"), 7).epoch(), experiment.train, torch.device("cpu"))
    label = "block1 ta · block2 ta · block3 ta · fc1 ta · fc2 ta"
    assert lines[0] == f"{label}: accuracy {shown.accuracy:.4f}, loss {shown.loss:.4f} (test)"
    assert abs(shown.loss - 0.1) > 1e-5  # the last layer spikes: without, it would be a tenth
    assert trained.lines[1] == f"Test: accuracy {shown.accuracy:.3f}, {shown.cost.spikes:,.0f} spikes"
    terms = next(number for number, line in enumerate(lines) if "In the papers' terms" in line)
    table = cells(lines[:terms], "layer")
    total = table.pop("total")
    names = {
        "spikes": ("spikes", 0.05),
        "LASAR": ("firing_rate", 5e-5),
        "synaptic operations": ("synaptic_operations", 0.5),
        "MACs": ("macs", 0.5),
        "energy µJ": ("energy", 5e-5),
        "energy (paper) µJ": ("energy_paper", 5e-5),
        "parameters": ("parameters", 0),
    }
    assert list(total) == ["layer", *names]
    for column, (name, rounding) in names.items():
        assert number(total[column]) == pytest.approx(shown.cost.totals[name], abs=rounding * 1.001)
        if column != "LASAR":  # the only one that is not a sum
            rows = [number(row[column]) for row in table.values() if row[column]]
            assert sum(rows) == pytest.approx(number(total[column]), abs=(len(rows) + 1) * rounding)
    assert {layer.layer for layer in shown.cost.layers} == set(table)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[terms:] if "│" in line]
    told, cost = {row[0]: row[1] for row in rows}, shown.cost
    assert told["NASAR, all neurons"] == f"{cost.firing_rate:.4f}"
    assert told["NASAR, without fully connected layers"] == f"{cost.spatial_firing_rate:.4f}"
    assert [float(rate) for rate in told["NSAR(t)"].split()] == pytest.approx(cost.rate_by_step, abs=1e-4)
    weights_macs, applying = (
        number(told[name].split()[0]) for name in ("ΔMAC1, computing the weights", "ΔMAC2, applying them")
    )
    assert weights_macs + applying == sum(layer.macs for layer in cost.layers if layer.kind == "attention") > 0
    assert number(told["E_Att"].split()[0]) == pytest.approx(cost.energy_paper, abs=5e-5)


def test_evaluation_against_a_base_gives_the_ratio_of_energies(weights, tmp_path, say, tiny_yaml):
    _, lines, _ = say("train", tiny_yaml())
    base = lines[-1].removeprefix("Weights: ")
    lines = say("evaluate", weights, "--base", base)[1]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    told = {row[0]: row[1] for row in rows if len(row) == 2}
    alone = "\n".join(say("evaluate", base)[1])
    assert f"E_Base                                │ {told['E_Base of --base']}" in alone
    energies = [float(told[name].split()[0]) for name in ("E_Base of --base", "E_Att")]
    assert float(told["rEE = E_Base / E_Att"]) == pytest.approx(energies[0] / energies[1], abs=2e-3)


def test_evaluation_shows_how_far_event_driven_inference_agrees(weights, say):
    plain = say("evaluate", weights)[1]
    code, lines, err = say("evaluate", "--event-driven", weights)
    assert (code, err) == (0, [])
    assert lines[:-1] == plain
    accuracy = re.search(r"accuracy (\S+),", plain[0])[1]
    expected = (
        rf"event-driven in \d of 5 layers: accuracy {accuracy}, dense {accuracy}; spikes differ by 0\.0e\+00 of them"
    )
    assert re.fullmatch(expected, lines[-1]), lines[-1]


def test_evaluation_of_other_splits_and_data(weights, say):
    figures = {
        words: "\n".join(say("evaluate", weights, *words)[1])
        for words in ((), ("--split", "train"), ("--split=validation",), ("--dataset.seed", "1"))
    }
    assert len(set(figures.values())) == 4
    splits = [text.splitlines()[0].rpartition("(")[2] for text in figures.values()]
    assert splits == ["test)", "train)", "validation)", "test)"]


def test_a_placement_may_come_from_a_file(say, tiny_yaml, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("block1.current: {name: ta, temporal_reduction: 2}\nfc1.current: ta\n")
    code, lines, err = say("train", tiny_yaml(), "--placement", path, "--seed", "3")
    assert (code, err) == (0, [])
    saved = Path(lines[-1].removeprefix("Weights: "))
    assert saved.parent.name.endswith("-seed3")
    assert load_tensors(saved)[1]["placement"] == {
        "block1.current": {"name": "ta", "temporal_reduction": 2},
        "fc1.current": "ta",
    }


def test_an_unfinished_trainings_checkpoint_is_no_weights_file(mistake, weights, tmp_path):
    tensors, record = load_tensors(weights)
    path = tmp_path / "checkpoint.safetensors"
    save_tensors(path, tensors, {"recipe": {}, "seed": 0, "record": record, "rows": []})
    reason = "is a checkpoint of a training that has not ended; the same command goes on"
    assert mistake("evaluate", path) == f"{path}: {reason}"


# search and report


@pytest.fixture(scope="module")
def searched(tmp_path_factory, tiny_in):
    """A search of two trials, confirmed once."""
    search, confirm = {"trials": 2, "candidates": ["none", "ta"]}, {"seeds": 1}
    experiment = tiny_in(tmp_path_factory.mktemp("searched"), search=search, confirm=confirm)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(["search", str(experiment.output.parent / "tiny.yaml")])
    return Done(code, out.getvalue().splitlines(), experiment)


def test_a_search_prints_plain_lines_and_its_table(searched):
    assert searched.code == 0
    text = "\n".join(searched.lines)
    assert "\x1b" not in text
    assert "trial 1/2: none: accuracy " in text
    assert "trial 2/2: block1 ta · block2 ta · block3 ta · fc1 ta · fc2 ta: accuracy " in text
    assert "confirm 2/2: " in text
    assert {"none", "ta everywhere"} <= set(cells(searched.lines, "placement"))


def test_report_prints_and_writes_it_anew(searched, say):
    table = searched.experiment.folder / "trials.csv"
    before = table.read_bytes()
    table.unlink()
    code, lines, err = say("report", searched.yaml)
    assert (code, err) == (0, [])
    assert table.read_bytes() == before
    at = next(n for n, line in enumerate(searched.lines) if "Confirmed on the test split" in line)
    assert [line for line in lines if line] == searched.lines[at:]


def test_train_and_evaluate_take_what_a_search_leaves(searched, say):
    folder = searched.experiment.folder
    fronts = sorted((folder / "front").glob("*.yaml"))
    assert fronts
    code, lines, err = say("train", searched.yaml, "--placement", fronts[0])
    assert (code, err) == (0, [])
    ours = load_tensors(Path(lines[-1].removeprefix("Weights: ")))
    kept = load_tensors(
        folder / "trials" / Placement(yaml.safe_load(fronts[0].read_text())).digest / "weights.safetensors"
    )
    assert ours[1] == kept[1]
    assert all(torch.equal(tensor, kept[0][name]) for name, tensor in ours[0].items())  # the same seed
    for path in sorted(folder.glob("*/*/weights.safetensors")):
        assert say("evaluate", path)[0] == 0


@pytest.mark.parametrize("command", ["report", "sites", "ui"])
def test_the_folder_of_a_search_stands_for_its_experiment(searched, say, tmp_path, monkeypatch, command):
    """From anywhere, and wherever the folder lies now."""
    monkeypatch.setattr("quietspike.search.page.subprocess.Popen", lambda *_, **__: contextlib.nullcontext(Served()))
    moved = tmp_path / "moved" / searched.experiment.folder.name
    shutil.copytree(searched.experiment.folder, moved)
    shutil.copy(searched.experiment.output / "mlflow.db", moved.parent)
    monkeypatch.chdir(tmp_path)
    code, lines, err = say(command, moved.relative_to(tmp_path))
    assert (code, err) == (0, [])
    expected = {
        "report": f"Placements, tables and plot are in {moved}",
        "ui": "MLflow on http://127.0.0.1:5000 until Ctrl-C",
        "sites": next((line for line in lines if "fc2.current" in line and "none, ta" in line), "no such line"),
    }
    assert expected[command] in lines


class Served:
    def wait(self):
        return 0


def test_a_training_may_name_the_folder_of_a_search(searched, say):
    folder = searched.experiment.folder
    code, lines, err = say("train", folder, "--placement", "none")
    assert (code, err) == (0, [])
    assert Path(lines[-1].removeprefix("Weights: ")).is_relative_to(folder / "train")


# mistakes: exit code 2 and one line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--verbose", "sites", "x.yaml"], "option: no '--verbose'; did you mean '--version'?"),
        (["--seed", "1", "--verbose=2", "sites"], "option: no '--verbose'; did you mean '--version'?"),
        (["--seed", "1", "serch"], "command: no 'serch'; did you mean 'search'?"),
        (["serch"], "command: no 'serch'; did you mean 'search'?"),
        ([], "the following arguments are required: COMMAND"),
        (["evaluate"], "evaluate: the following arguments are required: weights"),
        (["ui", "--port", "x"], "ui: argument --port: invalid int value: 'x'"),
        (["search", "--placement", "ta", "x.yaml"], "unrecognized arguments: --placement x.yaml"),
        (["list", "--seed", "1"], "unexpected '--seed'"),
        (["search", "--train.epohcs", "3"], "key: no 'train.epohcs'; did you mean 'train.epochs'?"),
        (["search", "--sarch.trials", "3"], "key: no 'sarch'; did you mean 'search'?"),
        (["search", "--train.epochs"], "--train.epochs: a value is missing"),
        (["search", "--train.epochs", "-1"], "train: epochs=-1: must be a whole number of at least 1"),
        (["search", "--train.epochs=-1"], "train: epochs=-1: must be a whole number of at least 1"),
        (["search", "--search.sites", "[block1.curent]"],
         "search.sites: no 'block1.curent'; did you mean 'block1.current'?"),
        (["search", "--dataset", "digit_dvs"], "datasets: no 'digit_dvs'; did you mean 'digits_dvs'?"),
        (["search", "--backbone", "con3"], "backbones: no 'con3'; did you mean 'conv3'?"),
        (["search", "--neuron", "lfi"], "neurons: no 'lfi'; did you mean 'lif'?"),
        (["search", "--search.candidates", "[none, tcas]"], "attention: no 'tcas'; did you mean 'tcsa'?"),
        (["search", "--search.engine", "optna"], "engines: no 'optna'; did you mean 'optuna'?"),
        (["search", "--search.sampler", "nsga"], "search.sampler: no 'nsga'; did you mean 'nsga2'?"),
        (["search", "--confirm.uniform", "[tas]"], "confirm.uniform: no 'tas'; did you mean 'tsa'?"),
        (["search", "--dataset.stepz", "3"], "datasets: digits_dvs: option: no 'stepz'; did you mean 'steps'?"),
        (["search", "--backbone.width", "[1, 2, 3]"], "backbones: conv3: option: no 'width'; did you mean 'widths'?"),
        (["search", "--neuron.treshold", "1"], "neurons: lif: option: no 'treshold'; did you mean 'threshold'?"),
        (["search", "--search.candidates", "[{name: ca, chanel_reduction: 3}]"],
         "block1.current: ca: option: no 'chanel_reduction'; did you mean 'channel_reduction'?"),
        (["search", "--dataset", "{name: nmnist, root: /no/where}"], "nmnist: no folder /no/where"),
        (["search", "--dataset", "nmnist"], "nmnist: give root"),
        (["search", "--device", "cdua"], "device='cdua': must be auto, cpu, cuda or cuda:n"),
        (["search", "--device", "cuda:99"], "device='cuda:99': this machine has "),
        (["sites", "."], "experiment.yaml: No such file or directory"),
        (["search", "no/such.yaml"], "no/such.yaml: No such file or directory"),
        (["train", "--placement", "tcas"], "attention: no 'tcas'; did you mean 'tcsa'?"),
        (["train", "--placement", "no/such.yaml"], "no/such.yaml: No such file or directory"),
        (["reproduce", "t.yaml", "--rows", "tcsa"], "option: no '--rows'; did you mean '--row'?"),
        (["train", "--device", "cdua"], "device='cdua': must be auto, cpu, cuda or cuda:n"),
        (["evaluate", "."], ".: is a folder; name its weights.safetensors"),
        (["evaluate", "no/such.safetensors"], "no/such.safetensors: no such file"),
        (["evaluate", "x.safetensors", "--split", "tset"], "--split: no 'tset'; did you mean 'test'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(mistake, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert mistake(*words).startswith(message)
    assert list(tmp_path.glob("**/weights*")) == []


def test_a_port_that_is_taken_is_refused(mistake, tiny_yaml):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert mistake("ui", tiny_yaml(), "--port", port) == f"--port: {port} cannot be had (Address already in use)"
    assert mistake("ui", tiny_yaml(), "--port", 99999).startswith("--port: 99999 cannot be had (")


def test_a_file_that_cannot_be_written_is_one_line(mistake, searched, tmp_path):
    folder = tmp_path / searched.experiment.folder.name
    shutil.copytree(searched.experiment.folder, folder)
    (folder / "trials.csv").unlink()
    (folder / "trials.csv").mkdir()
    assert mistake("report", folder) == f"{folder / 'trials.csv'}: Is a directory"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/a[/b]"), "/a[/b]: Permission denied"),
        (URLError("no\nroute"), "<urlopen error no route>"),
        (OSError(), "OSError"),
    ],
)
def test_what_the_system_refuses_is_one_line(mistake, tiny_yaml, monkeypatch, error, line):
    def fail(*_):
        raise error

    monkeypatch.setattr("quietspike.search.searching.run_search", fail)
    assert mistake("search", tiny_yaml()) == line


@pytest.mark.parametrize("command", ["search", "train"])
def test_an_output_that_cannot_be_written_is_named(mistake, tiny_yaml, tmp_path, command):
    (tmp_path / "file").write_text("")
    message = mistake(command, tiny_yaml(), "--output", tmp_path / "file" / "runs")
    assert message.startswith("output: ")
    assert str(tmp_path / "file" / "runs") in message


def test_report_before_a_search_is_refused(mistake, tiny_yaml):
    assert mistake("report", tiny_yaml()).endswith(": no search has begun there")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("block1.curent: ta", "{path}: site: no 'block1.curent'; did you mean 'block1.current'?"),
        ("block1.current: tcas", "{path}: attention: no 'tcas'; did you mean 'tcsa'?"),
        ("block1.current: {name: ca, reduction: 3}", "{path}: block1.current: ca: option: no 'reduction'; did you"),
        ("block1.current: 3", "{path}: block1.current: expected a name or a mapping with a name, not 3"),
        ("- ta", "{path}: must hold keys and values, not list"),
        ("3: ta", "{path}: the key 3 is no text"),
    ],
)
def test_a_mistaken_placement_is_refused_before_anything_is_logged(mistake, tiny_yaml, tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert mistake("train", tiny_yaml(), "--placement", path).startswith(message.format(path=path))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mlflow.db"]


def test_weights_that_are_none_are_refused(mistake, weights, tmp_path):
    whole = weights.read_bytes()
    kinds = {
        "text": b"no weights",
        "nothing": b"",
        "half": whole[: len(whole) // 2],
        "pickle": pickle.dumps({"a": 1}),
    }
    for name, content in kinds.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        assert mistake("evaluate", path).startswith(f"{path}: not a whole safetensors file ("), name


def test_a_torch_checkpoint_is_refused_without_unpickling_it(mistake, tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "model.pt")
    assert mistake("evaluate", tmp_path / "model.pt").startswith(
        f"{tmp_path / 'model.pt'}: not a whole safetensors file"
    )


def test_weights_of_somebody_else_are_refused(mistake, weights, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(safetensors.torch.save({"weight": torch.ones(2)}))
    assert mistake("evaluate", foreign) == (
        f"{foreign}: does not say which network it belongs to; not written by quietspike"
    )
    tensors, record = load_tensors(weights)
    for name, changed in (
        ("placement", {**record, "placement": ["ta"]}),
        ("experiment", {**record, "experiment": "tiny"}),
        ("seed", {**record, "seed": "one"}),
    ):
        save_tensors(foreign, tensors, changed)
        assert mistake("evaluate", foreign).startswith(f"{foreign}: "), name


def test_weights_that_do_not_fit_their_record_are_refused(mistake, weights, tmp_path):
    tensors, record = load_tensors(weights)
    other = tmp_path / "other.safetensors"
    save_tensors(other, {**tensors, "fc2.linear.extra": torch.ones(1)}, record)
    known = "fc2.linear.bias, fc2.linear.weight"
    assert mistake("evaluate", other) == f"{other}: weights: no 'fc2.linear.extra'; beside it are: {known}"
    assert "has shape" in mistake("evaluate", weights, "--backbone.widths", "[4, 4, 5]")


# ui


def test_ui_before_any_run_says_so(mistake, tmp_path):
    store = tmp_path / "runs" / "mlflow.db"
    assert mistake("ui", "--output", tmp_path / "runs") == f"{store}: no runs are stored there yet"


def test_ui_of_a_server_says_where_it_is(say):
    code, lines, _ = say("ui", "--tracking.uri", "http://mlflow.example:5000")
    assert (code, lines) == (0, ["The runs are at http://mlflow.example:5000"])


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ui_answers_until_it_is_interrupted(tiny_yaml, end, code):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "import sys; from quietspike.search.cli import main; sys.exit(main())"]
    process = subprocess.Popen(
        [*command, "ui", tiny_yaml(), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == f"MLflow on http://127.0.0.1:{port} until Ctrl-C\n"
        assert answer(f"http://127.0.0.1:{port}/", process) == 200
        servers = psutil.Process(process.pid).children(recursive=True)
        if end == signal.SIGINT:
            os.killpg(process.pid, end)  # what Ctrl-C does: to all of its processes
        else:
            process.send_signal(end)
        assert process.wait(60) == code
        assert psutil.wait_procs(servers, timeout=30)[1] == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def answer(url, process):
    for _ in range(600):
        assert process.poll() is None
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                return page.status
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer")


# interruption


def test_ctrl_c_says_how_to_go_on(say, tiny_yaml, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("quietspike.search.searching.run_search", interrupted)
    code, _, err = say("search", tiny_yaml())
    assert code == 130
    assert err == ["Stopped; all that had ended is kept, and the same command goes on from there"]


def test_sigterm_stops_as_ctrl_c_does_and_the_handler_is_given_back(say, tiny_yaml, monkeypatch):
    def terminated(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("quietspike.search.searching.run_search", terminated)
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = say("search", tiny_yaml())
    assert code == 143
    assert err == ["Stopped; all that had ended is kept, and the same command goes on from there"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_may_run_a_command():
    codes = []
    with contextlib.redirect_stdout(io.StringIO()):
        thread = threading.Thread(target=lambda: codes.append(main(["list"])))
        thread.start()
        thread.join()
    assert codes == [0]
