import csv
import json

import pytest
import yaml

from quietspike.core import Placement, QuietspikeError, Site, UnknownNameError
from quietspike.search import reproducing
from quietspike.search.cli import main
from quietspike.search.reproducing import FIGURES, Reproduced, reproduce
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
    "wide": {"placement": {"block*.input": "ca"}, "change": {"backbone": {"widths": [8, 8, 8]}}, "base": "vanilla"},
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

    def train(experiment, placement, console, seed):
        calls.append((placement.label, seed))
        spikes = 100.0 / (1 + len(placement)) + seed
        totals = {"spikes": spikes, "firing_rate": spikes / 1e3, "spatial_firing_rate": spikes / 5e2}
        return Outcome(0.5 + seed / 100, {**totals, "energy_paper": spikes / 10})

    monkeypatch.setattr(reproducing, "train_placement", train)
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
        ({"rows": {"a": {"base": "b"}}}, r"rows\.a\.base: no 'b'; there are: a"),
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


def test_a_row_whose_base_was_not_trained_has_no_ratio_of_energies():
    outcomes = {0: Outcome(0.5, {"spikes": 1.0, "firing_rate": 0.1, "energy_paper": 2.0})}
    row = Reproduced("a", Row(), Placement(), outcomes, {})
    assert [str(row.values(figure)[0]) for figure in FIGURES] == ["50.0", "0.1", "1.0", "nan"]


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
    totals = Outcome.of(json.loads(folders[0].read_text(encoding="utf-8"))).totals
    assert {"spikes", "firing_rate", "spatial_firing_rate", "energy_paper"} <= totals.keys()


def test_a_command_without_a_table_says_what_to_give(capsys):
    assert main(["reproduce"]) == 2
    assert capsys.readouterr().err == "quietspike: reproduce: give a table, as experiments/ma-table6.yaml\n"
