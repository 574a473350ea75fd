"""The table of every placement: what is in it, that it is gone on with and never begun anew, and what it refuses."""

import json
import lzma
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml

from quietspike.core import ENGINES, CheckpointError, OptionError, Placement
from quietspike.search.cli import main
from quietspike.search.design import Design
from quietspike.search.execution import Training, run_training
from quietspike.search.results import Outcome
from quietspike.search.space import open_space
from quietspike.search.tabulating import tabulate
from quietspike.search.tabulation import Entry, Table, read_table, write_table
from quietspike.search.untracked import SilentRun


class InlineEngine:
    """Trains in this process; is interrupted before the training of a chosen number."""

    def __init__(self):
        self.interrupt_at, self.trained = None, []

    def confirm(self, job, tasks, watch):
        for task in tasks:
            if len(self.trained) == self.interrupt_at:
                raise KeyboardInterrupt
            self.trained.append((task.placement, task.seed))
            task.run(job, 0)
            watch()


@pytest.fixture
def engine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    torch.set_num_threads(1)
    inline = InlineEngine()
    monkeypatch.setitem(ENGINES._registered, "inline", lambda: inline)
    return inline


@pytest.fixture
def small(tiny_experiment):
    """Three placements of two epochs; takes keys of the experiment."""

    def make(table="table.jsonl.xz", **keys):
        search = {"sites": ["block1.current"], "engine": "inline", "table": table, **keys.pop("search", {})}
        return tiny_experiment(**{"train": {"epochs": 2}, "search": search, **keys})

    return make


def lines_of(path):
    """The table's lines without the seconds, which no two runs share."""
    header, *lines = map(json.loads, lzma.decompress(path.read_bytes()).splitlines())
    for line in lines:
        del line["outcome"]["seconds"], line["outcome"]["curve"]["seconds"]
    return [header, *lines]


def test_a_table_holds_every_placement_once_and_the_front_and_some_at_random_more_often(engine, small, tmp_path):
    experiment = small()
    table = tabulate(experiment, seeds=3, drawn=1)
    everything = [design.placement for design in open_space(experiment).shuffled(experiment.seed, 3)]
    first = [entry.final for entry in (table.entries[placement, 0] for placement in everything)]
    front = {
        placement
        for placement, own in zip(everything, first, strict=True)
        if not any(
            (other.accuracy, -other.totals["spikes"]) != (own.accuracy, -own.totals["spikes"])
            and other.accuracy >= own.accuracy
            and other.totals["spikes"] <= own.totals["spikes"]
            for other in first
        )
    }
    again = front | {everything[0]}
    expected = {(placement, 0) for placement in everything} | {(p, seed) for p in again for seed in (1, 2)}
    assert set(engine.trained) == set(table.entries) == expected
    assert read_table(experiment.search.table) == table
    assert list(tmp_path.glob("runs/*/table-*")) == [], "nothing is kept twice"


def test_an_entry_is_what_the_training_gave(engine, small, tmp_path):
    experiment = small()
    table = tabulate(experiment, seeds=1, drawn=0)
    placement = Placement({"block1.current": "csa"})
    rows = []
    outcome = run_training(
        Training(experiment, Design(placement), 0, tmp_path / "own"), SilentRun(), test=True, watch=rows.append
    )
    entry = table.entries[placement, 0]
    assert entry.outcome.accuracy == outcome.accuracy
    assert entry.outcome.totals == outcome.totals
    for name in ("loss", "accuracy", "train_loss", "train_accuracy", "learning_rate"):
        assert list(entry.outcome.curve[name]) == [getattr(row, name) for row in rows], name
    for name in ("spikes", "energy", "synaptic_operations", "macs", "parameters"):
        assert list(entry.outcome.curve[name]) == [row.cost.totals[name] for row in rows], name
    validated = run_training(Training(experiment, Design(placement), 0, tmp_path / "trial"), SilentRun())
    assert (entry.final.accuracy, entry.final.totals) == (validated.accuracy, validated.totals)
    assert entry.final.rates == validated.rates


@pytest.mark.parametrize("interrupt_at", [2, 4])
def test_what_is_in_a_table_is_never_trained_again(engine, small, tmp_path, interrupt_at):
    undisturbed = small("whole.jsonl.xz", output=str(tmp_path / "elsewhere"))
    tabulate(undisturbed, seeds=2, drawn=3)
    engine.trained.clear()
    engine.interrupt_at = interrupt_at
    experiment = small()
    with pytest.raises(KeyboardInterrupt):
        tabulate(experiment, seeds=2, drawn=3)
    engine.interrupt_at = None
    moved = small(output=str(tmp_path / "another machine"))
    tabulate(moved, seeds=2, drawn=3)
    assert len(engine.trained) == len(set(engine.trained)) == 6
    assert lines_of(experiment.search.table) == lines_of(undisturbed.search.table)
    tabulate(moved, seeds=2, drawn=3)
    assert len(engine.trained) == 6


def test_a_failure_is_an_entry_with_its_reason(engine, small, monkeypatch):
    def fail(*_args, **_keys):
        raise ValueError("no")

    monkeypatch.setattr("quietspike.search.job.run_training", fail)
    table = tabulate(small(), seeds=2, drawn=0)
    assert [entry.final.reason for entry in table.entries.values()] == ["ValueError: no"] * 3


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"train": {"epochs": 3}}, "is a table of train.epochs 2, not 3"),
        ({"seed": 1}, "is a table of seed 0, not 1"),
        ({"dataset": {"size": 14}}, "is a table of dataset.size 12, not 14"),
        ({"neuron": {"name": "lif", "decay": 0.3}}, "is a table of neuron.decay unset, not 0.3"),
        ({"search": {"candidates": ["none", "ta"]}}, "is a table of choices.block1.current [none, ta, csa], not"),
        ({"search": {"sites": ["block2.current"]}}, "is a table of choices.block2.current unset, not [none, ta, csa]"),
    ],
)
def test_a_table_of_something_else_is_refused(engine, small, keys, line):
    experiment = small()
    write_table(experiment.search.table, Table.empty(experiment, open_space(experiment)))
    before = experiment.search.table.read_bytes()
    with pytest.raises(OptionError) as caught:
        tabulate(small(**keys))
    assert str(caught.value).startswith(f"table.jsonl.xz: {line}")
    assert engine.trained == []
    assert experiment.search.table.read_bytes() == before


def test_mistakes_are_one_line(engine, small, tmp_path, capsys):
    small(table=None)
    assert main(["tabulate", str(tmp_path / "tiny.yaml")]) == 2
    assert (
        capsys.readouterr().err == "quietspike: search.table: missing; it names the file of the table, as t.jsonl.xz\n"
    )
    assert main(["tabulate", str(tmp_path / "tiny.yaml"), "--search.table", "t", "--seeds", "0"]) == 2
    assert "--seeds 0" in capsys.readouterr().err
    settings = ["--search.table", "t", "--search.settings", "{neuron.decay: [0.3, 0.5]}"]
    assert main(["tabulate", str(tmp_path / "tiny.yaml"), *settings]) == 2
    assert capsys.readouterr().err == "quietspike: search.settings: neuron.decay: a table holds placements alone\n"
    (tmp_path / "t").write_bytes(b"no table")
    assert main(["tabulate", str(tmp_path / "tiny.yaml"), "--search.table", "t"]) == 2
    assert capsys.readouterr().err.startswith("quietspike: t: not a table, or damaged")


def test_two_do_not_write_one_table(engine, small, tmp_path):
    experiment = small()
    elsewhere = small(output=str(tmp_path / "elsewhere"))

    def confirm(job, tasks, watch):
        with pytest.raises(OptionError, match=r"^table\.jsonl\.xz: another tabulate writes it$"):
            tabulate(elsewhere)
        InlineEngine.confirm(engine, job, tasks, watch)

    engine.confirm = confirm
    held = tabulate(experiment, seeds=1, drawn=0).entries
    assert len(engine.trained) == len(held)
    engine.confirm = None
    assert tabulate(elsewhere, seeds=1, drawn=0).entries == held, "behind the first it reads what that wrote"


def test_a_table_that_cannot_be_written_is_said_so_before_anything_is_trained(engine, small, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OptionError, match=r"^search\.table: file/table\.xz: cannot be written: .*file is no folder$"):
        tabulate(small(table="file/table.xz"))
    assert engine.trained == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_table_is_said_to_be_damaged(engine, small, share):
    experiment = small()
    outcome = Outcome(0.5, {"spikes": 1.0}, curve={"accuracy": (0.5,), "spikes": (1.0,), "loss": (math.pi,)})
    path = experiment.search.table
    write_table(
        path, Table.empty(experiment, open_space(experiment)).with_entries([Entry(Placement(), 0, outcome)], {})
    )
    content = path.read_bytes()
    assert read_table(path).entries[Placement(), 0].outcome == replace(
        outcome, curve={name: list(values) for name, values in outcome.curve.items()}
    )
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="not a table, or damaged"):
        read_table(path)


@pytest.mark.slow
def test_sigkills_of_the_driver_change_nothing(tiny_experiment, tmp_path):
    shape = {"train": {"epochs": 3}, "search": {"sites": ["block1.current", "block2.current"], "workers": 2}}
    tables = {name: tmp_path / f"{name}.jsonl.xz" for name in ("killed", "undisturbed")}

    def start(name):
        experiment = tiny_experiment(**shape, output=str(tmp_path / name))
        path = tmp_path / f"{name}.yaml"
        search = {**experiment.data["search"], "table": str(tables[name])}
        path.write_text(yaml.safe_dump({**experiment.data, "search": search}), encoding="utf-8")
        command = [sys.executable, "-m", "quietspike.search.cli", "tabulate", str(path), "--seeds", "2", "--drawn", "2"]
        code = "import sys; from quietspike.search.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *command[3:]]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    said, _ = start("undisturbed").communicate(timeout=240)
    assert "trainings are in" in said, said
    seen, kills = 0, 0
    while kills < 3:
        driver = start("killed")
        for line in driver.stdout:
            if "seed 0: accuracy" in line and (seen := seen + 1) % 2 == 0:
                break
        time.sleep(0.1 * kills)  # at one moment or another of the trainings under way
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        kills += 1
    said, _ = start("killed").communicate(timeout=240)
    assert "trainings are in" in said, said
    assert lines_of(tables["killed"]) == lines_of(tables["undisturbed"])
