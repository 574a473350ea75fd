"""A third party's distribution, built and installed, joins by its entry points: nothing of ours knows its names."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from quietspike.core import ATTENTION

PLUGIN = Path(__file__).with_name("third_party_plugin")

EXPERIMENT = {
    "name": "plugins",
    "device": "cpu",
    "dataset": {"name": "blobs", "samples": 16, "steps": 3},
    "backbone": {"name": "conv3", "widths": [4, 4, 4], "pools": [2, 2, 1], "hidden": []},
    "train": {"epochs": 1, "batch_size": 8},
    "search": {"trials": 5, "workers": 1, "sampler": "random", "candidates": ["none", "ta", "gain"]},
    "confirm": {"seeds": 1, "front": 1},
}


@pytest.fixture(scope="module")
def install(tmp_path_factory):
    """A function that builds a distribution and installs it into a folder of its own, without reaching any network."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

    def build_and_install(source):
        wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
        offline = ["--no-index", "--no-deps", "-qq"]
        wheel = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels), str(source)]
        subprocess.run(wheel, check=True, cwd=wheels)
        subprocess.run([*pip, "install", *offline, "--target", str(target), *map(str, wheels.iterdir())], check=True)
        return target

    return build_and_install


@pytest.fixture(scope="module")
def installed(install):
    """Where the third party's distribution is installed."""
    return install(PLUGIN)


@pytest.fixture
def python(tmp_path):
    """Run Python, or a command beside it, in an empty folder with other folders on its path."""

    def run(*arguments, path=()):
        paths = [*map(str, path), os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def quietspike(python):
    """The installed command."""
    command = Path(sys.executable).with_name("quietspike")
    return lambda *arguments, path=(): python(command, *arguments, path=path)


def rows_of(table):
    """The cells of a printed table, row by row."""
    return [tuple(cell.strip() for cell in line.strip("│┃").split("│")) for line in table.splitlines() if "│" in line]


def test_list_names_the_plugins_with_their_distribution(quietspike, installed):
    done = quietspike("list", path=[installed])
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert ("attention", "gain", "oddments 2.3.1") in rows
    assert ("datasets", "blobs", "oddments 2.3.1") in rows
    assert ("attention", "tcsa", "quietspike-attention 0.1.0") in rows
    assert "gain" not in ATTENTION.names()  # of this environment, where it is not installed


def test_a_search_uses_an_attention_and_a_data_set_of_a_third_party(quietspike, installed, tmp_path):
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    done = quietspike("search", "experiment.yaml", path=[installed])
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs").glob("plugins-*")
    with (folder / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    placements = [json.loads(trial["placement"]) for trial in trials]
    everywhere = {f"block{number}.current": "gain" for number in (1, 2, 3)}
    assert len(placements) == 5
    assert everywhere in placements
    assert any("gain" in placement.values() for placement in placements if placement != everywhere)
    assert all(0 <= float(trial["accuracy"]) <= 1 and not trial["reason"] for trial in trials)
    assert "gain everywhere" in done.stdout


def test_its_options_are_checked_as_ours_are(quietspike, installed, tmp_path):
    wrong = {"name": "gain", "begin": 2.0}
    experiment = {**EXPERIMENT, "search": {**EXPERIMENT["search"], "candidates": ["none", wrong]}}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    done = quietspike("search", "experiment.yaml", path=[installed])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "quietspike: block1.current: gain: option: no 'begin'; there are: start\n"


def test_it_keeps_the_contracts(python, installed):
    code = """
from quietspike.core import ATTENTION, DATASETS
from quietspike.core.testing import check_attention, check_dataset
check_attention(ATTENTION.get("gain"), start=0.5)
check_dataset(DATASETS.get("blobs")())
"""
    done = python("-c", code, path=[installed])
    assert done.returncode == 0, done.stderr


def test_two_distributions_that_claim_one_name_are_both_named(quietspike, install, installed, tmp_path):
    source = shutil.copytree(PLUGIN, tmp_path / "rival", ignore=shutil.ignore_patterns("__pycache__"))
    text = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(text.replace('"oddments"', '"rivals"').replace('"2.3.1"', '"0.4"'))
    both = [installed, install(source)]
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    done = quietspike("search", "experiment.yaml", path=both)
    assert (done.returncode, done.stdout) == (2, "")
    claim = "datasets: 'blobs' is claimed by oddments 2.3.1 and rivals 0.4; uninstall one of them"
    assert done.stderr == f"quietspike: {claim}\n"
