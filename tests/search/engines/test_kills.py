"""Few of the random kills that ``experiments/faults/kills.py`` deals out by the hundred."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "experiments" / "faults" / "kills.py"


@pytest.mark.slow
def test_a_search_that_is_killed_at_random_ends_as_one_that_is_not(capsys):
    kills = runpy.run_path(str(SCRIPT))
    assert kills["main"](["--kills", "8", "--seed", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| SIGKILLs | 8: " in shown
    assert "| equal to the untouched search | yes |" in shown
