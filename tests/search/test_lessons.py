"""The figures of ``lessons.py`` by hand and by scipy's regression."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).parents[2] / "experiments" / "placement-bench" / "lessons.py"


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
