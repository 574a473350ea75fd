"""The figures of ``lessons.py`` by hand and by scipy's regression."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from quietspike.core import Placement
from quietspike.search.config import check_experiment
from quietspike.search.results import Outcome
from quietspike.search.tabulation import read_table, write_table

SCRIPT = Path(__file__).parents[2] / "experiments" / "placement-bench" / "lessons.py"


MA = ["none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"]


@pytest.fixture
def run(tiny_data, made_up_table, tmp_path, monkeypatch):
    """``run("--key", "value")``: the script on a made-up table of 8 candidates at a site, with two seeds."""
    search = {"sites": ["block1.current"], "candidates": MA, "table": str(tmp_path / "t.jsonl.xz")}
    experiment = check_experiment(tiny_data(train={"epochs": 3}, search=search))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(experiment.data), encoding="utf-8")
    made_up_table(experiment, seeds=2)

    def start(*words):
        command = [str(SCRIPT), "--experiment", str(tmp_path / "tiny.yaml"), "--output", str(tmp_path), *words]
        monkeypatch.setattr(sys, "argv", command)
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return (tmp_path / "lessons.md").read_text()

    start.table = experiment.search.table
    return start


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_the_effects_of_a_full_factorial_design_by_hand(script):
    first, second = np.array([-1.0, -1.0, 1.0, 1.0]), np.array([-1.0, 1.0, -1.0, 1.0])
    figure = np.array([10.0, 14.0, 20.0, 24.0])  # 10 more with the first, 4 more with the second
    effects = script["fit"](np.stack([first, second], axis=1), figure)
    assert [effect for effect, _ in effects] == pytest.approx([10.0, 4.0])
    assert [wide for _, wide in effects] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert [script["share"](column, figure) for column in (first, second, first * second)] == pytest.approx(
        [25 / 29, 4 / 29, 0.0]
    )


def test_the_interval_of_an_effect_is_that_of_scipys_regression(script):
    column = np.tile([-1.0, 1.0], 8)
    figure = column + np.random.default_rng(0).normal(size=16)
    [(effect, wide)] = script["fit"](column[:, None], figure)
    fitted = stats.linregress(column, figure)
    assert effect == pytest.approx(2 * fitted.slope)
    assert wide == pytest.approx(2 * stats.t.ppf(0.975, 14) * fitted.stderr)


def test_lessons_are_those_of_the_tables_means(run):
    table = read_table(run.table)
    ends = {}
    for label in MA:
        placement = Placement({} if label == "none" else {"block1.current": label})
        ends[label] = 100 * np.mean([entry.final.accuracy for entry in table.of(placement).values()])
    time = np.mean([ends[label] for label in ("ta", "tca", "tsa", "tcsa")])
    time -= np.mean([ends[label] for label in ("none", "ca", "sa", "csa")])
    text = run()
    assert f"| time | {time:+.1f} ± " in text
    assert "| 3 single effects | " in text
    assert "| their 3 pairs | " in text


def test_a_training_that_failed_teaches_nothing(run):
    table = read_table(run.table)
    before = run()
    for placement, seed in ((Placement(), 1), (Placement({"block1.current": "ca"}), 0)):
        failed = table.entries[placement, seed]._replace(outcome=Outcome.failed("it diverged"))
        table = table.with_entries([failed], {"made": "up"})
    write_table(run.table, table)
    after = run()
    assert "| among placements, one seed each | 8 |" in before
    assert "| among placements, one seed each | 8 |" in after
    assert "over 8 in accuracy" in before
    assert "over 7 in accuracy" in after


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--search.candidates", "[none, ta, ca]"], "search.candidates: none, ta, ca: must be the eight subsets"),
        (["--search.objectives", "[accuracy, energy]"], "search.objectives: lessons are of spikes, not of energy"),
        (["--search.constraints", "[spikes <= 9]"], "search.constraints: spikes <= 9: what is compared has no bounds"),
        (["--search.table", "nowhere"], "nowhere: cannot be read"),
    ],
)
def test_what_would_be_no_lesson_is_refused_in_one_line(run, words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
