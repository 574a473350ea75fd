"""Kendall's tau by hand and by its definition, and an interval that covers what it should."""

import itertools
import math
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import Placement
from quietspike.search.agreement import agreement

SCRIPT = Path(__file__).parents[2] / "experiments" / "placement-bench" / "supernet_ranking.py"

FIGURES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=12)


def by_definition(pairs):
    """tau-b: concordant less discordant pairs, over the geometric mean of the pairs that are no ties."""
    signs = [((a > c) - (a < c), (b > d) - (b < d)) for (a, b), (c, d) in itertools.combinations(pairs, 2)]
    free = math.sqrt(sum(one != 0 for one, _ in signs) * sum(other != 0 for _, other in signs))
    return sum(one * other for one, other in signs) / free if free else math.nan


@given(FIGURES)
def test_it_is_tau_b(pairs):
    found = agreement(*zip(*pairs, strict=True), resamples=1)
    assert found.tau == pytest.approx(by_definition(pairs), nan_ok=True)


def test_equal_and_reversed_orders_are_certain():
    assert str(agreement([1, 2, 3, 4], [10, 20, 30, 50])).startswith("1.000 [1.000, 1.000]")
    assert agreement([1, 2, 3, 4], [4, 3, 2, 1]).high == -1


def test_the_interval_narrows_with_more_placements_and_is_the_same_each_time():
    rising = [float(n) for n in range(80)]
    noisy = [n + 25 * math.sin(7 * n) for n in range(80)]
    few, many = agreement(rising[:15], noisy[:15]), agreement(rising, noisy)
    assert many.low < many.tau < many.high
    assert many.high - many.low < few.high - few.low
    assert agreement(rising, noisy) == many
    assert agreement(rising, noisy, level=0.5).high < many.high


def test_lists_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="not of 3 and 2"):
        agreement([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="not of 1 and 1"):
        agreement([1], [1])
    assert math.isnan(agreement([1, 1], [2, 2]).low)


def test_rankings_are_of_means_over_files_without_what_failed_or_was_stopped(tmp_path):
    header = "placement,accuracy,spikes,reason,stopped\n"
    rows = ["{},0.5,100,,\n{},,,it raised,\n{},0.1,900,,3\n", "{},0.7,300,,\n"]
    paths = [tmp_path / f"{number}.csv" for number in range(2)]
    for path, text in zip(paths, rows, strict=True):
        path.write_text(header + text, encoding="utf-8")
    assert runpy.run_path(str(SCRIPT))["read_means"](paths) == {Placement(): pytest.approx([0.6, 200.0])}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.yaml", "good.csv"], "nowhere.yaml: No such file or directory"),
        (["tiny.yaml", "nowhere.csv"], "No such file or directory: 'nowhere.csv'"),
        (["tiny.yaml", "nowhere.xz"], "nowhere.xz: cannot be read"),
        (["tiny.yaml", "tiny.yaml"], "tiny.yaml: is no CSV with the columns placement, accuracy and spikes"),
        (["tiny.yaml", "one.csv"], "one.csv: 1 placements; it takes at least 2"),
        (["tiny.yaml", "strange.csv"], "block1 simam: is not in the space, which has no simam at block1.current"),
        (["tiny.yaml", "good.csv", "--seeds", "0"], "--seeds 0: must be at least 1"),
        (["tiny.yaml", "good.csv", "--sead", "1"], "key: no 'sead'; did you mean 'seed'?"),
        (["tiny.yaml", "good.csv", "--out", "folder"], "key: no 'out'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_trained(words, said, tiny_data, tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_data()), encoding="utf-8")
    for name, others in {"good": ["ta"], "one": [], "strange": ["simam"]}.items():
        rows = ['"{}",0.5,100', *(f'"{{""block1.current"":""{other}""}}",0.5,100' for other in others)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["placement,accuracy,spikes", *rows]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.safetensors"))
