import csv
import json

import pytest
import yaml

from quietspike.core import CheckpointError, Placement, QuietspikeError, Site, UnknownNameError
from quietspike.core.training import DivergedError
from quietspike.search import reproducing
from quietspike.search.cli import main
from quietspike.search.data import open_dataset
from quietspike.search.reproducing import PRINTED, Reproduced, reproduce
from quietspike.search.reproduction import Row, load_reproduction
from quietspike.search.results import Outcome

SITES = [
    Site("block1.input", "input", 4, 2, spatial=True),
    Site("block1.current", "current", 4, 8, spatial=True),
    Site("block1.membrane", "membrane", 1, 8, spatial=True),
    Site("fc1.current", "current", 4, 8, spatial=False),
]
ROWS = {
    "vanilla": {"published": {"accuracy": 90.63, "firing_rate": 0.173, "spikes": 1_108_000, "efficiency": 1}},
    "tcsa": {"placement": "tcsa", "published": {"accuracy": 96.53}},
    "wide": {"placement": {"block*.input": "ca"}, "change": {"backbone": {"widths": [8, 8, 8]}}},
}


@pytest.fixture
def put(tiny_data, tmp_path):
    """A table of tiny trainings, changed key by key; gives its file."""

    def write(**changes):
        experiment = {**tiny_data(), "confirm": {"seeds": 1}}
        del experiment["name"], experiment["search"]
        data = {"title": "Tiny", "source": "nowhere", "experiment": experiment, "rows": ROWS, **changes}
        path = tmp_path / "tiny-table.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def trained(monkeypatch):
    """Let training be quick: which placements, and with which seeds; the totals say which."""
    calls = []

    def train(experiment, design, console, seed):
        placement = design.placement
        calls.append((placement.label, seed))
        spikes = 100.0 / (1 + len(placement)) + seed
        totals = {"spikes": spikes, "firing_rate": spikes / 1e3, "energy_paper": spikes / 10}
        return Outcome(0.5 + seed / 100, {**totals, "spatial_spikes": spikes / 4, "spatial_firing_rate": spikes / 5e2})

    monkeypatch.setattr(reproducing, "train_design", train)
    return calls


def rows_of(made):
    return {row.name: row for row in made}


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ("none", {}),
        ("tcsa", {"block1.current": "tcsa", "fc1.current": "ta"}),
        ("ca", {"block1.current": "ca"}),
        (
            {"*.current": "ta", "block*.membrane": {"name": "csa", "per_step": True}},
            {
                "block1.current": "ta",
                "fc1.current": "ta",
                "block1.membrane": {"name": "csa", "per_step": True},
            },
        ),
        ({"*.input": "sa", "block1.input": "ca"}, {"block1.input": "ca"}),
    ],
)
def test_a_row_is_placed_by_patterns_of_sites(placement, expected):
    assert Row(placement=placement).place(SITES) == Placement(expected)


def test_a_pattern_without_a_site_comes_with_the_near_match():
    with pytest.raises(UnknownNameError, match=r"^placement: no '\*\.curent'; did you mean '\*\.current'\?$"):
        Row(placement={"*.curent": "ta"}).place(SITES)


def test_a_rows_own_keys_go_before_the_tables_and_the_command_lines_before_both(put):
    table = load_reproduction(put())
    assert table.row_experiment("wide").backbone.data["widths"] == [8, 8, 8]
    assert table.row_experiment("wide").backbone.data["hidden"] == [8]
    assert table.row_experiment("tcsa").backbone.data["widths"] == [4, 4, 4]
    changed = table.row_experiment("wide", ["--backbone.widths", "[2, 2, 2]", "--train.epochs", "7"])
    assert (changed.backbone.data["widths"], changed.train.epochs, changed.name) == ([2, 2, 2], 7, "tiny-table")
    other = load_reproduction(put(rows={"a": {"change": {"neuron": {"name": "plif", "tau": 3.0}}}}))
    assert other.row_experiment("a").neuron.data == {"name": "plif", "tau": 3.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, r"rows: mapping should have at least 1 item"),
        ({"rows": {"a": {"placment": "ta"}}}, r"key: no 'rows.a.placment'; did you mean 'rows.a.placement'\?"),
        ({"rows": {"a": {"published": {"accuracy": "high"}}}}, r"rows\.a\.published\.accuracy: input should be a va"),
        ({"rows": {"a": {"change": {"train": {"epohcs": 1}}}}}, r"row a: key: no 'train.epohcs'; did you mean 'train"),
        ({"rows": {"a": {"counted": "most"}}}, r"rows\.a\.counted: no 'most'; there are: all, spatial"),
        ({"titel": "Tiny"}, r"key: no 'titel'; did you mean 'title'\?"),
    ],
)
def test_a_mistake_in_a_table_is_one_line(put, changes, message):
    path = put(**changes)
    with pytest.raises(QuietspikeError, match=f"^{path}: {message}") as raised:
        load_reproduction(path)
    assert "\n" not in str(raised.value)


def test_rows_are_trained_with_what_they_are_compared_with_and_once(put, trained, console):
    table, seeds = load_reproduction(put()), ["--confirm.seeds", "2"]
    made = reproduce(table, console, ["tcsa"], seeds)
    tcsa = "block1 tcsa · block2 tcsa · block3 tcsa · fc1 ta · fc2 ta"
    assert trained == [("none", 0), (tcsa, 0), ("none", 1), (tcsa, 1)]
    assert [row.name for row in made] == ["vanilla", "tcsa"]
    made = reproduce(table, console, [], seeds)
    assert trained[4:] == [("block1.input ca · block2.input ca · block3.input ca", seed) for seed in (0, 1)]
    assert [row.name for row in made] == ["vanilla", "tcsa", "wide"]
    assert reproduce(table, console, ["vanilla"], seeds) == made
    assert len(trained) == 6


def test_figures_are_in_the_papers_units_and_the_energys_ratio_is_paired_by_seed(put, trained, console):
    made = rows_of(reproduce(load_reproduction(put()), console, [], ["--confirm.seeds", "2"]))
    assert made["tcsa"].values("accuracy") == [50, 51]
    assert made["tcsa"].values("spikes") == pytest.approx([100 / 6, 100 / 6 + 1])
    assert made["tcsa"].values("firing_rate") == pytest.approx([1 / 60, 1 / 60 + 1e-3])
    assert made["tcsa"].values("efficiency") == pytest.approx([6, 101 / (100 / 6 + 1)])
    assert made["vanilla"].values("efficiency") == [1, 1]
    rows = {**ROWS, "tcsa": {"placement": "tcsa", "counted": "spatial"}}
    spatial = rows_of(reproduce(load_reproduction(put(rows=rows)), console, ["tcsa"]))
    assert spatial["tcsa"].values("firing_rate") == pytest.approx([1 / 30])
    assert spatial["tcsa"].values("spikes") == pytest.approx([100 / 24])


def test_the_table_has_ours_beside_what_was_printed(put, trained, console):
    path = put()
    reproduce(load_reproduction(path), console, [], ["--confirm.seeds", "2"])
    lines = [line.split("│")[1:-1] for line in console.file.getvalue().splitlines() if line.startswith("│")]
    shown = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}
    assert shown["vanilla"][:2] == ["90.63", "50.50 ± 0.71"]
    assert shown["vanilla"][4:] == ["1,108,000", "100 ± 1", "1.00", "1.00 ± 0.00"]
    assert shown["tcsa"][2:4] == ["", "0.017 ± 0.001"]
    with (path.parent / "runs" / "tiny-table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["seed"]) for row in rows] == [(name, seed) for name in ROWS for seed in "01"]
    assert (rows[0]["accuracy_published"], rows[3]["accuracy"], rows[4]["spikes_published"]) == ("90.63", "51.0", "")
    assert json.loads(rows[2]["placement"]) == {
        **dict.fromkeys([f"block{block}.current" for block in (1, 2, 3)], "tcsa"),
        **dict.fromkeys(["fc1.current", "fc2.current"], "ta"),
    }


def test_energies_are_compared_with_the_network_that_is_the_same_without_attention(put):
    changed = {"change": {"backbone": {"widths": [8, 8, 8]}}}
    rows = {"small": {}, "small-ta": {"placement": "ta"}, "wide": changed, "wide-ta": {"placement": "ta", **changed}}
    table = load_reproduction(put(rows={**rows, "deep": {"placement": "ta", "change": {"backbone": {"hidden": [9]}}}}))
    assert [table.base(name) for name in table.rows] == ["small", "small", "wide", "wide", None]
    assert table.choose(["wide"]) == ["wide"]
    assert table.choose(["wide-ta", "deep"]) == ["wide", "wide-ta", "deep"]


def test_rows_of_earlier_calls_are_shown_wherever_their_data_lay(put, trained, console, tmp_path, monkeypatch):
    table = load_reproduction(put(rows={"a": {}, "b": {"change": {"backbone": {"widths": [8, 8, 8]}}}}))
    digits = open_dataset(table.row_experiment("a"))
    monkeypatch.setattr(reproducing, "open_dataset", lambda experiment: digits)
    reproduce(table, console, ["a"], ["--dataset.root", str(tmp_path / "one")])
    made = reproduce(table, console, ["b"], ["--dataset.root", str(tmp_path / "other")])
    assert [one.name for one in made] == ["a", "b"]
    made = reproduce(table, console, ["b"], ["--train.epochs", "7"])
    assert [one.name for one in made] == ["b"]
    assert len(trained) == 3


def test_a_row_that_diverges_ends_itself_alone_and_is_not_tried_again(put, trained, console, monkeypatch):
    train = reproducing.train_design

    def diverge(experiment, placement, console, seed):
        outcome = train(experiment, placement, console, seed)
        if placement.label.startswith("block1 tcsa") and seed == 0:
            raise DivergedError("the loss is nan in epoch 1, step 2")
        return outcome

    monkeypatch.setattr(reproducing, "train_design", diverge)
    table, seeds = load_reproduction(put()), ["--confirm.seeds", "2"]
    made = rows_of(reproduce(table, console, [], seeds))
    assert (list(made["tcsa"].outcomes), made["tcsa"].failures) == ([1], {0: "the loss is nan in epoch 1, step 2"})
    assert list(made["wide"].outcomes) == [0, 1]
    assert "\ntcsa, seed 0: the loss is nan in epoch 1, step 2\n" in console.file.getvalue()
    reproduce(table, console, [], seeds)
    assert len(trained) == 6


def test_a_damaged_outcome_is_named(put, trained, console, tmp_path):
    table = load_reproduction(put())
    reproduce(table, console, ["vanilla"])
    [path] = tmp_path.glob("runs/*/train/*/outcome.json")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"^{path}: damaged; remove it to train anew$"):
        reproduce(table, console, ["tcsa"])


def test_a_row_whose_base_was_not_trained_has_no_ratio_of_energies():
    outcomes = {0: Outcome(0.5, {"spikes": 1.0, "firing_rate": 0.1, "energy_paper": 2.0})}
    row = Reproduced("a", Row(), Placement(), outcomes)
    assert [str(row.values(figure)[0]) for figure in PRINTED] == ["50.0", "0.1", "1.0", "nan"]


def test_a_mistake_comes_before_any_training(put, trained, console):
    rows = {"vanilla": {}, "bad": {"placement": {"block9.current": "ta"}}}
    with pytest.raises(UnknownNameError, match=r"^row bad: placement: no 'block9\.current'; did you mean 'block"):
        reproduce(load_reproduction(put(rows=rows)), console)
    with pytest.raises(UnknownNameError, match=r"^row: no 'tcas'; did you mean 'tcsa'\?$"):
        reproduce(load_reproduction(put()), console, ["tcas"])
    with pytest.raises(QuietspikeError, match=r"^row vanilla: nmnist: no folder /nowhere$"):
        reproduce(load_reproduction(put()), console, [], ["--dataset.name", "nmnist", "--dataset.root", "/nowhere"])
    assert trained == []


def test_the_command_trains_a_row(put, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", str(put()), "--row", "tcsa", "--row", "wide", "--confirm.seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("Tiny (nowhere)", "vanilla", "tcsa", "wide", "tiny-table.csv"))
    folders = sorted((tmp_path / "runs").glob("tiny-table-*/train/*/outcome.json"))
    assert len(folders) == 3
    totals = Outcome.of(json.loads(folders[0].read_text(encoding="utf-8"))["outcome"]).totals
    assert {"spikes", "spatial_spikes", "firing_rate", "spatial_firing_rate", "energy_paper"} <= totals.keys()


def test_an_experiment_is_no_table(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("dataset: digits_dvs\n", encoding="utf-8")
    assert main(["reproduce", str(path)]) == 2
    expected = f"quietspike: {path}: is an experiment; quietspike search and quietspike train take it\n"
    assert capsys.readouterr().err == expected


def test_a_tables_file_may_have_any_name(put):
    path = put()
    other = path.rename(path.with_name("my table.yaml"))
    assert load_reproduction(other).row_experiment("vanilla").name == "my-table"


def test_a_command_without_a_table_says_what_to_give(capsys):
    assert main(["reproduce"]) == 2
    assert capsys.readouterr().err == "quietspike: reproduce: give a table, as experiments/ma-table6.yaml\n"
