"""The examples of the README and of the packages' pages, as a reader would run them."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FENCED = r"```python\n(.*?)```"
INDENTED = r"^((?:    (?:import|from) .*\n)(?:(?:    .*)?\n)*)"


def examples_in(page: Path) -> list[str]:
    """Python in fences, and what is indented from an import on."""
    text = page.read_text(encoding="utf-8")
    indented = re.findall(INDENTED, re.sub(FENCED, "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return re.findall(FENCED, text, flags=re.DOTALL) + [textwrap.dedent(block) for block in indented]


EXAMPLES = examples_in(ROOT / "README.md")
PAGES = {page.parent.name: examples_in(page) for page in sorted(ROOT.glob("packages/*/README.md"))}


def run_example(text: str, folder: Path) -> str:
    script = folder / "example.py"
    script.write_text(text, encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=clean, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_your_own_attention_in_15_lines(tmp_path: Path) -> None:
    [example] = [text for text in EXAMPLES if "ATTENTION.register" in text]
    assert len(example.splitlines()) <= 15
    front = run_example(example, tmp_path)
    assert front.startswith("['")
    [trials] = tmp_path.glob("runs/*/trials.csv")
    assert "gain" in trials.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", [text for text in EXAMPLES if "ATTENTION.register" not in text])
def test_other_examples_run(example: str, tmp_path: Path) -> None:
    lines = run_example(example, tmp_path).splitlines()
    assert len(lines) == 2
    for line in lines:
        accuracy, spikes, energy = map(float, re.findall(r"\d+\.?\d*", line))
        assert 0 <= accuracy <= 1
        assert spikes > 0
        assert energy > 0


def test_every_package_shows_how_it_is_used() -> None:
    assert {name for name, examples in PAGES.items() if examples} == {"core", "attention", "datasets", "search"}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(text, id=f"{name}{number}", marks=[pytest.mark.slow] if "run_search" in text else [])
        for name, examples in PAGES.items()
        for number, text in enumerate(examples)
    ],
)
def test_examples_of_the_packages_run(example: str, tmp_path: Path) -> None:
    shown = run_example(example, tmp_path)
    assert bool(shown) == ("print(" in example)
