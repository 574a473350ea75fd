"""What is better, what will do, and what a search says of itself where nothing does."""

import csv
import io
import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from rich.console import Console

from quietspike.core import Placement, QuietspikeError
from quietspike.search.config import check_experiment
from quietspike.search.design import Design
from quietspike.search.goals import Constraint, Goals
from quietspike.search.pareto import MOST_DECADES, find_front, foremost, hypervolume, least_violating
from quietspike.search.report import conclusions, print_report, write_report
from quietspike.search.results import Outcome, TrialResult

THREE = ("accuracy", "spikes", "parameters")
COARSE = st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5))
"""Accuracy, spikes and parameters on a grid so coarse that equals occur."""


def three(reference=(0.0, 1e3, 1e3)):
    return Goals(("spikes", "parameters"), reference)


def trials_of(points):
    outcomes = [Outcome(a, {"spikes": float(s), "parameters": float(p)}) for a, s, p in points]
    return [TrialResult(number, Design(Placement()), outcome) for number, outcome in enumerate(outcomes)]


# objectives


@given(points=st.lists(COARSE, max_size=14))
def test_the_front_of_three_objectives_is_what_no_other_dominates(points):
    def beats(one, other):
        return one != other and one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2]

    front = find_front(trials_of(points), three())
    chosen = [points[trial.number] for trial in front]
    assert set(chosen) == {p for p in points if not any(beats(other, p) for other in points)}
    assert len(chosen) == len(set(chosen)), "of equals one"
    assert all(trial.number == points.index(point) for trial, point in zip(front, chosen, strict=True)), "the first"
    assert [p[1] for p in chosen] == sorted(p[1] for p in chosen)


def test_hypervolume_of_three_objectives_by_hand():
    # boxes from (0, 10^3, 10^3): 0.5 × 2 × 1 and 0.8 × 1 × 1, which share 0.5 × 1 × 1
    points = [(0.5, 10.0, 100.0), (0.8, 100.0, 100.0)]
    assert hypervolume(points, (0.0, 1e3, 1e3)) == pytest.approx(0.5 * 2 + 0.8 - 0.5)
    assert hypervolume([*points, (0.4, 200.0, 300.0)], (0.0, 1e3, 1e3)) == pytest.approx(1.3), "dominated"
    assert hypervolume([(0.5, 2e3, 1.0), (0.0, 1.0, 1.0)], (0.0, 1e3, 1e3)) == 0, "beyond the reference"
    assert hypervolume([(1.0, 0.0, 1e2)], (0.0, 1e3, 1e3)) == pytest.approx(MOST_DECADES)


@given(st.lists(COARSE, max_size=6))
def test_hypervolume_of_three_objectives_is_the_count_of_dominated_cells(points):
    reference = (0.0, 10.0**6, 10.0**6)
    given_points = [(float(a), 10.0 ** (6 - s), 10.0 ** (6 - p)) for a, s, p in points]
    cells = itertools.product(range(5), range(6), range(6))
    dominated = sum(any(x < a and y < s and z < p for a, s, p in points) for x, y, z in cells)
    assert hypervolume(given_points, reference) == pytest.approx(dominated)


@given(points=st.lists(COARSE, unique=True, max_size=8), count=st.integers(1, 9))
def test_the_foremost_of_three_objectives_are_as_many_as_there_are(points, count):
    chosen = foremost(trials_of(points), three(), count)
    assert len({trial.number for trial in chosen}) == len(chosen) == min(count, len(points))


def test_objectives_have_one_order_and_the_first_cost_leads(tiny_data):
    search = check_experiment(tiny_data(search={"objectives": ["parameters", "accuracy", "latency"]})).search
    assert search.objectives == ("accuracy", "parameters", "latency")
    assert (search.objective, search.goals.costs) == ("parameters", ("parameters", "latency"))
    assert search.goals.corner == (0.0, 1e9, 1e3)


def test_a_reference_has_a_value_for_each_objective(tiny_data):
    whole = {"objectives": [*THREE], "hypervolume_reference": [0.5, 100, 1e4]}
    assert check_experiment(tiny_data(search=whole)).search.goals.corner == (0.5, 100, 1e4)
    with pytest.raises(QuietspikeError, match="must have a value for each of accuracy, spikes, parameters"):
        check_experiment(tiny_data(search={**whole, "hypervolume_reference": [0.5, 100]}))
    with pytest.raises(QuietspikeError, match="a cost must be greater than 0, not -1"):
        check_experiment(tiny_data(search={**whole, "hypervolume_reference": [0.5, 100, -1]}))


# constraints


@pytest.mark.parametrize(
    ("text", "value", "violation"),
    [
        ("spikes <= 200", 300, 0.5),
        ("spikes<=200", 200, 0),
        ("  accuracy  >=  0.8", 0.6, 0.25),
        ("accuracy >= 0.8", 0.9, -0.125),
        ("latency <= 0", 2, 2),
        ("energy <= 1e-1", 0.2, 1),
    ],
)
def test_by_how_much_a_bound_is_violated(text, value, violation):
    assert Constraint.parse(text).violation(value) == pytest.approx(violation)


@given(st.sampled_from(["energy", "spikes"]), st.sampled_from(["<=", ">="]), st.floats(0, 1) | st.integers(0, 10**12))
def test_a_constraint_comes_back_from_its_text(figure, sign, bound):
    constraint = Constraint.parse(f"{figure} {sign} {bound:.15g}")
    assert Constraint.parse(constraint.text) == constraint


def test_only_the_feasible_enter_the_front(trial):
    trials = [trial(0, 0.9, 3000), trial(1, 0.8, 1000), trial(2, 0.5, 100), trial(3, 0.7, 900), trial(4, reason="NaN")]
    bounds = ["accuracy >= 0.6", "spikes <= 2000"]
    goals = Goals(constraints=tuple(map(Constraint.parse, bounds)))
    assert [t.number for t in find_front(trials, goals)] == [3, 1]
    assert {t.number for t in foremost(trials, goals, 9)} == {3, 1}
    # trial 0 has 50 % too many spikes, trial 2 lacks a sixth of the accuracy
    assert least_violating([trials[0], trials[2], trials[4]], goals).number == 2
    assert least_violating(trials[4:], goals) is None


def test_the_best_is_feasible_by_its_means(result, trial, confirmation):
    none = confirmation("none", [0.8, 0.8], [3000, 3000])
    cheap = confirmation("ta", [0.84, 0.84], [500, 500])
    dear = confirmation("ca", [0.99, 0.97], [1000, 1000])
    confirmed = [none, cheap, dear]
    assert result([trial(0, 0.5, 9)], confirmed).best is cheap
    assert result([trial(0, 0.5, 9)], confirmed, constraints=["accuracy >= 0.9"]).best is dear
    assert result([trial(0, 0.5, 9)], confirmed, constraints=["accuracy >= 0.999"]).best is None


def infeasible(result, trial, confirmation):
    trials = [trial(0, 0.9, 3000), trial(1, 0.6, 2000), trial(2, reason="NaN")]
    confirmed = [confirmation("none", [0.8], [3000])]
    return result(trials, confirmed, constraints=["spikes <= 1000", "accuracy >= 0.5"])


def test_a_search_that_found_nothing_feasible_says_so_and_what_is_nearest(result, trial, confirmation):
    found = infeasible(result, trial, confirmation)
    assert (found.front, found.hypervolume) == ([], 0)
    said = "\n".join(conclusions(found))
    assert "No trial meets spikes <= 1000 and accuracy >= 0.5: there is no front" in said
    assert "  nearest is trial 1, with spikes 2,000: block1 ta(temporal_reduction=2)" in said
    assert "No placement is called the best: none that was confirmed meets search.constraints" in said


def test_its_report_is_whole(result, trial, confirmation):
    found = infeasible(result, trial, confirmation)
    write_report(found)
    rows = list(csv.DictReader(io.StringIO((found.folder / "trials.csv").read_text(encoding="utf-8"))))
    assert [row["violation"] for row in rows] == ["2.0", "1.0", ""]
    assert {row["on_front"] for row in rows} == {"False"}
    assert list((found.folder / "front").glob("*.yaml")) == []
    assert (found.folder / "pareto.svg").stat().st_size > 1000


def test_before_it_confirms_it_shows_the_nearest_in_the_fronts_place(result, trial, confirmation):
    found = infeasible(result, trial, confirmation)
    console = Console(file=io.StringIO(), width=120)
    print_report(result(found.trials, constraints=["spikes <= 1000"]), console)
    printed = console.file.getvalue()
    assert "Nearest to search.constraints; none meets them" in printed
    assert "block1 ta(temporal_reduction=2)" in printed


def test_a_search_with_constraints_says_how_many_trials_meet_them(result, trial):
    found = result([trial(0, 0.9, 3000), trial(1, 0.6, 2000)], constraints=["spikes <= 2000"])
    assert "1 of 2 trials meet spikes <= 2000" in conclusions(found)
    assert [t.number for t in found.front] == [1]


# tables of several costs


def test_each_cost_has_its_column_and_its_difference(result, trial, confirmation):
    none, ta = confirmation("none", [0.8], [3999]), confirmation("ta", [0.9], [1999])
    found = result([trial(0, 0.9, 1999)], [none, ta], others=["parameters", "latency"])
    console = Console(file=io.StringIO(), width=200)
    print_report(found, console)
    printed = console.file.getvalue()
    header = next(line for line in printed.splitlines() if "accuracy %" in line)
    assert all(name in header for name in ("spikes", "parameters", "latency ms"))
    [sentence] = [s for s in conclusions(found) if "against none" in s]
    # parameters are 10^6 / (1 + spikes) and milliseconds spikes / 1000 here
    assert "50.0% fewer spikes, 100.0% more parameters, 50.0% less latency, accuracy +10.0 points" in sentence
    write_report(found)
    [first] = (found.folder / "front").glob("*.yaml")
    assert "accuracy 0.9000, 1,999 spikes a sample, 500 parameters, 2 ms a sample (" in first.read_text()


def test_the_plot_marks_a_front_of_several_costs(result, trial, tmp_path):
    from quietspike.search.plot import plot_search

    trials = [trial(n, 0.5 + n / 10, 100 * (n + 1)) for n in range(4)]
    path = tmp_path / "plot.svg"
    plot_search(result(trials, others=["energy"]), path)
    assert "their front (with energy)" in path.read_text()


def test_figures_are_finite_numbers():
    assert np.isfinite(list(Goals(("spikes", "energy", "synaptic_operations", "parameters", "latency")).corner)).all()
