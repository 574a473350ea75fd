"""Samplers compared on tables that were made up: what is counted, by hand, and that it is what a search would do."""

import dataclasses
import json
import lzma
import math
import random
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from quietspike.core import OptionError, Placement
from quietspike.search import aspects, placement_sampler
from quietspike.search.comparing import Bench, Comparison, Method, Point, compare, follow, simulate
from quietspike.search.comparison_report import budget_table, write_comparison
from quietspike.search.config import check_experiment
from quietspike.search.design import Design
from quietspike.search.gaussian import Parameters
from quietspike.search.pareto import hypervolume
from quietspike.search.results import Outcome
from quietspike.search.study import SearchStudy
from quietspike.search.tabulation import read_table, write_table
from quietspike.search.truth import Truth

SCRIPT = Path(__file__).parents[2] / "experiments" / "placement-bench" / "compare.py"
SHAPE = {
    "train": {"epochs": 9},
    "search": {"sites": ["block*.current"], "trials": 27, "population": 4, "uniform_first": False},
}


def by_hand(*points, epochs=3):
    """A truth of so many designs, each (accuracy, spikes) at its end."""
    designs = [Design(Placement({"block1.current": {"name": "ta", "temporal_reduction": n + 1}})) for n in range(9)]
    curves = {
        design: [{"accuracy": accuracy * (e + 1) / epochs, "spikes": spikes} for e in range(epochs)]
        for design, (accuracy, spikes) in zip(designs, points, strict=False)
    }
    return Truth(curves, "spikes", epochs), list(curves)


@pytest.fixture
def bench(tiny_experiment, made_up_table, tmp_path):
    experiment = tiny_experiment(**{**SHAPE, "search": {**SHAPE["search"], "table": str(tmp_path / "t.jsonl.xz")}})
    made_up_table(experiment, seeds=2)
    return Bench.open(experiment)


def test_the_hypervolume_is_between_the_worst_of_each():
    truth, designs = by_hand((0.5, 1000.0), (0.9, 100.0), (0.7, 10.0))
    assert truth.reference == (0.5, 1000.0)
    assert truth.area == pytest.approx(0.4 * 1 + 0.2 * 1)
    assert truth.exhausting == 9
    assert truth.end(designs[1]) == (0.9, 100.0)


def test_an_order_of_designs_is_followed_by_their_ends():
    truth, designs = by_hand((0.5, 1000.0), (0.9, 100.0), (0.7, 10.0))
    points = follow(truth, [designs[1], designs[1], designs[2], designs[0]], spent=7)
    assert points == [Point(10, pytest.approx(0.4)), Point(13, pytest.approx(0.6)), Point(16, pytest.approx(0.6))]


def test_budgets_shares_and_regrets_by_hand():
    truth, _ = by_hand((0.5, 1000.0), (0.9, 100.0), (0.7, 10.0))
    runs = [[Point(3, 0.3), Point(6, 0.6)], [Point(3, 0.1), Point(9, 0.5), Point(9, 0.5)]]
    comparison = Comparison(truth, {"one": runs})
    np.testing.assert_allclose(comparison.budgets("one", 0.5), [3, 9])
    np.testing.assert_allclose(comparison.budgets("one", 0.99), [6, math.inf])
    np.testing.assert_allclose(comparison.regrets("one", math.inf), [0, 1 / 6], atol=1e-12)
    np.testing.assert_allclose(comparison.regrets("one", 3), [0.5, 5 / 6], atol=1e-12)
    np.testing.assert_allclose(comparison.shares("one", [2, 3, 8, 9]), [[0, 0.5, 1, 1], [0, 1 / 6, 1 / 6, 5 / 6]])
    assert "| one | 2 | 66.7 % (66.7 % – never) |" in budget_table(comparison)


def test_a_truth_is_the_mean_over_a_tables_seeds(bench):
    table = read_table(bench.experiment.search.table)
    for design in random.Random(0).sample(sorted(bench.truth.curves, key=lambda d: d.json), 5):
        entries = table.of(design.placement)
        assert sorted(entries) == [0, 1]
        for epoch in (1, 9):
            expected = np.mean([entry.outcome.curve["spikes"][epoch - 1] for entry in entries.values()])
            assert bench.truth.curves[design][epoch - 1]["spikes"] == pytest.approx(expected)


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe", "nsga2", "gp"])
def test_a_search_that_never_stops_finds_everything(bench, sampler):
    points = bench.simulate(Method(sampler), seed=1)
    assert points[-1].area == pytest.approx(bench.truth.area)
    assert [point.spent for point in points[:-1]] == [9 * (n + 1) for n in range(len(points) - 1)]
    assert [p.area for p in points] == sorted(p.area for p in points)


def test_stopped_trials_cost_their_epochs_and_give_nothing(bench):
    points = bench.simulate(Method("random", early=True), seed=1)
    assert points[-1].spent < bench.truth.exhausting / 2
    trained = [Point(0, 0.0), *points[:-1]]
    assert all(later.spent - earlier.spent >= 9 for earlier, later in zip(trained, points[:-1], strict=False))
    assert any((later.spent - earlier.spent) % 9 for earlier, later in zip(trained, points[:-1], strict=False))


@pytest.mark.parametrize(("sampler", "early"), [("nsga2", False), ("gp", True), ("tpe", True)])
def test_it_claims_what_a_search_with_a_journal_does(bench, tmp_path, sampler, early):
    options = {"sampler": sampler, "early_stopping": {"min_epochs": 1, "reduction": 3} if early else None}
    data = bench.experiment.data
    experiment = check_experiment({**data, "seed": 3, "search": {**data["search"], **options}})
    claimed = []
    for folder in (None, tmp_path):
        study = SearchStudy(experiment, bench.space, folder)
        claimed.append([])
        while (claim := study.claim()) is not None:
            curve = bench.truth.curves[claim.design]
            ended = next((e for e in experiment.rungs if not study.goes_on(claim, e, curve[e - 1])), 9)
            values = curve[ended - 1]
            totals = {name: value for name, value in values.items() if name != "accuracy"}
            study.finish(claim, Outcome(values["accuracy"], totals, stopped=ended if ended < 9 else None))
            claimed[-1].append((claim.design, ended))
    assert claimed[0] == claimed[1]
    points = simulate(bench.truth, experiment, bench.space)
    whole = [design for design, ended in claimed[0] if ended == 9][: len(points) - 1]
    areas = [hypervolume(map(bench.truth.end, whole[: n + 1]), bench.truth.reference) for n in range(len(whole))]
    np.testing.assert_allclose([point.area for point in points[:-1]], areas)


def test_processes_give_what_one_gives(bench):
    methods = [Method("random"), Method("gp", early=True)]
    found = list(compare(bench, methods, seeds=2, workers=2, done={("random", 0)}))
    assert [(method, seed) for method, seed, _ in found] == [(methods[1], 0), (methods[0], 1), (methods[1], 1)]
    for method, seed, points in found:
        assert points == bench.simulate(method, seed)


def test_a_table_with_a_gap_is_refused(bench):
    path = bench.experiment.search.table
    table = read_table(path)
    missing = next(iter(table.entries))[0]
    entries = {key: entry for key, entry in table.entries.items() if key[0] != missing}
    write_table(path, type(table)(table.settings, table.choices, table.makers, entries))
    with pytest.raises(OptionError, match=r"holds 26 of 27 placements; .* is missing$"):
        Bench.open(bench.experiment)


@pytest.mark.parametrize("enumerated", [2048, 60])
def test_gp_needs_a_third_of_the_trainings_that_chance_does(
    tiny_experiment, made_up_table, tmp_path, monkeypatch, enumerated
):
    monkeypatch.setattr(aspects, "ENUMERATED", enumerated)  # 60: a space that cannot be looked at as a whole
    candidates = ["none", "ta", "ca", "sa", "tca", "csa", "tcsa"]
    search = {**SHAPE["search"], "candidates": candidates, "table": str(tmp_path / "t.jsonl.xz")}
    experiment = tiny_experiment(**{**SHAPE, "search": search})
    made_up_table(experiment)
    bench = Bench.open(experiment)
    runs = {sampler: [bench.simulate(Method(sampler), seed) for seed in range(5)] for sampler in ("gp", "random")}
    comparison = Comparison(bench.truth, runs)
    gp, chance = (np.median(comparison.budgets(sampler, 0.99)) for sampler in ("gp", "random"))
    assert gp < chance / 3


def test_of_many_trainings_the_latest_predict_and_all_are_on_the_front(bench, monkeypatch):
    monkeypatch.setattr(placement_sampler, "MOST", 10)
    monkeypatch.setattr(placement_sampler, "FORGOTTEN", 4)
    learned, fronts = [], []
    likeliest, improvement = Parameters.likeliest, placement_sampler.expect_improvement

    def learn(within, values, *rest, **kinds):
        learned.append(values.tobytes())
        return likeliest(within, values, *rest, **kinds)

    def expect(means, deviations, front, *rest):
        fronts.append(len(front))
        return improvement(means, deviations, front, *rest)

    monkeypatch.setattr(Parameters, "likeliest", learn)
    monkeypatch.setattr(placement_sampler, "expect_improvement", expect)
    monkeypatch.setattr(Truth, "area", math.inf)  # never found, so that everything is tried
    assert len(bench.simulate(Method("gp"), seed=1)) == 27 + 1
    assert fronts == list(range(8, 27))
    assert len(learned) == len(set(learned)) == 2 * (1 + 4 * 2), "with each of four later beginnings of 7, then of 8"


def test_the_report_is_the_same_twice_and_has_every_method(bench, tmp_path):
    runs = {name: [bench.simulate(Method("random", early=bool(early)), 0)] for early, name in enumerate(("a", "b"))}
    comparison = Comparison(bench.truth, {"a": runs["a"], "a + early stopping": runs["b"]})
    for folder in ("one", "two"):
        write_comparison(comparison, tmp_path / folder)
    for name in ("curves.csv.xz", "curves.svg", "curves.png", "budgets.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    lines = lzma.decompress((tmp_path / "one" / "curves.csv.xz").read_bytes()).decode().splitlines()
    assert lines[0] == "method,epochs,budget,q10,q50,q90"
    assert {line.partition(",")[0] for line in lines[1:]} == {"a", "a + early stopping"}


def test_a_supernet_that_ranks_as_the_truth_finds_the_front_first(bench, tmp_path):
    rows = [
        f'"{design.placement.json.replace(chr(34), 2 * chr(34))}",{accuracy},{spikes}'
        for design, (accuracy, spikes) in ((design, bench.truth.end(design)) for design in bench.truth.curves)
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["placement,shared_accuracy_0,shared_spikes_0", *rows]))
    [points] = runpy.run_path(str(SCRIPT))["supernet_searches"](bench, path)
    splits = bench.experiment.data["dataset"]
    forward = (
        27
        * (4 * bench.experiment.train.batch_size + splits["validation"])
        / (3 * splits["train"] + splits["validation"])
    )
    assert points[0].spent == math.ceil(2 * 9 + forward) + 9, "the supernet's epochs, its scores, and one training"
    ends = [bench.truth.end(design) for design in bench.truth.curves]
    front = {one for one in ends if not any(a >= one[0] and s <= one[1] and (a, s) != one for a, s in ends)}
    assert points[len(front) - 1].area == pytest.approx(bench.truth.area)


@pytest.fixture
def run_script(bench, tmp_path, monkeypatch, capsys):
    """``run_script("--seeds", "1")``: its exit code on the bench, and all that it said."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--experiment", "tiny.yaml", "--output", "out", *words])
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as ended:
            code = ended.code
        return code, "".join(capsys.readouterr())

    return run


def test_the_script_keeps_searches_and_shows_those_of_others(bench, tmp_path, run_script):
    words = ["--seeds", "1", "--workers", "1", "--samplers", "random"]
    _, first = run_script(*words)
    assert "random, seed 0: 14 trainings to the end" in first, "half of 27 trainings, and the one that was begun"
    path = tmp_path / "out" / "runs.jsonl.xz"
    kept = lzma.decompress(path.read_bytes()).decode()
    other = {"method": "supernet", "seed": 0, "points": [[30, bench.truth.area]]}
    path.write_bytes(lzma.compress(f"{kept}{json.dumps(other)}\n".encode()))
    _, shown = run_script(*words)
    assert ", seed 0" not in shown
    [own] = [line for line in first.splitlines() if line.startswith("| random |")]
    assert own in shown.splitlines()
    assert f"| supernet | 1 | {100 * 30 / 243:.1f} %" in shown
    code, said = run_script(*words, "--search.population", "8")
    assert code == 2
    assert f"{path.relative_to(tmp_path)}: is of population 4, not 8" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0"], "--seeds 0, --workers 2: must be at least 1"),
        (["--workers", "0"], "--seeds 30, --workers 0: must be at least 1"),
        (["--horizon", "0.05"], "--horizon 0.05: must lie between 0.1 and 1"),
        (
            ["--search.objectives", "[accuracy, spikes, energy]"],
            "and one cost, not spikes, energy",
        ),
        (["--search.constraints", "spikes <= 9"], "search.constraints: spikes <= 9: what is compared has no bounds"),
        (["--supernet", "nowhere.csv"], "No such file or directory: 'nowhere.csv'"),
        (["--supernet", "tiny.yaml"], "tiny.yaml: is no CSV of supernet_ranking.py"),
        (["--supernet", "empty.csv"], "empty.csv: has no column shared_accuracy_0"),
        (["--supernet", "strange.csv"], "strange.csv: block3 simam: is no placement of the experiment's space"),
        (["--supernet", "strange.csv", "--search.objectives", "[accuracy, energy]"], "of spikes, not of energy"),
        (["--output", "damaged"], "runs.jsonl.xz: is damaged"),
    ],
)
def test_the_scripts_mistakes_are_one_line_before_anything_is_simulated(run_script, tmp_path, words, said):
    columns = "placement,shared_accuracy_0,shared_spikes_0"
    (tmp_path / "empty.csv").write_text("placement\n{}\n")
    (tmp_path / "strange.csv").write_text(f'{columns}\n"{{""block3.current"":""simam""}}",0.5,100\n')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "runs.jsonl.xz").write_bytes(b"no table")
    code, shown = run_script(*words)
    assert code == 2
    assert said in shown.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_placement_that_failed_is_named(bench):
    table = read_table(bench.experiment.search.table)
    failed = [e._replace(outcome=Outcome.failed("it diverged")) for e in table.of(Placement()).values()]
    write_table(bench.experiment.search.table, table.with_entries(failed, {"made": "up"}))
    with pytest.raises(OptionError, match=r"holds 26 of 27 placements; none failed with it diverged$"):
        Bench.open(bench.experiment)


def test_a_supernets_experiment_is_compared_by_its_samplers(bench):
    search = bench.experiment.search.model_copy(update={"strategy": "supernet"})
    other = dataclasses.replace(bench, experiment=bench.experiment.model_copy(update={"search": search}))
    assert other.simulate(Method("nsga2"), seed=1) == bench.simulate(Method("nsga2"), seed=1)
