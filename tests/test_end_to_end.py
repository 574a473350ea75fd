"""The README's examples, as a reader would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def run_example(text: str, folder: Path) -> str:
    script = folder / "example.py"
    script.write_text(text, encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=clean, capture_output=True, text=True, timeout=300
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
