import io
import re

import pytest
from rich.console import Console

from quietspike.search.progress import ProgressShow, amount, best_note, outcome_text, trial_line
from quietspike.search.results import Outcome


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)


def plain(console):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def test_without_a_terminal_it_prints_a_line_each(console):
    with ProgressShow(console, "trial", 5, 2) as show:
        show.show(["a: one", "b: two"], "note")
        show.show([])
        show.show(["c: three"])
    assert console.file.getvalue() == "trial 3/5: a: one\ntrial 4/5: b: two\ntrial 5/5: c: three\n"


def test_brackets_in_a_reason_are_printed_as_they_are(console):
    with ProgressShow(console, "trial", 1, 0) as show:
        show.show(["failed: RuntimeError: [cpu] [/x]"])
    assert console.file.getvalue() == "trial 1/1: failed: RuntimeError: [cpu] [/x]\n"


def test_on_a_terminal_there_is_a_bar_with_time_left_and_the_best_so_far(terminal, trial):
    trials = [trial(0, 0.9, 3000), trial(1, 0.5, 100), trial(2, reason="NaN")]
    with ProgressShow(terminal, "trial", 40, 1) as show:
        show.show([trial_line(t, "spikes") for t in trials[1:]], best_note(trials, "spikes"))
        show._bar.refresh()
    text = plain(terminal)
    assert "trial 2/40: block1 ta(temporal_reduction=2): accuracy 0.500, 100 spikes" in text
    assert "trial 3/40: block1 ta(temporal_reduction=3): failed: NaN" in text
    bar = next(line for line in re.split(r"[\r\n]", text) if "━" in line and "3/40" in line)
    assert re.search(r"━.* 3/40 (-|\d):(--|\d\d):(--|\d\d)", bar)  # hours, minutes and seconds left, once known
    assert "best accuracy 0.900, fewest 100 spikes" in bar


def test_the_time_left_is_estimated_from_what_ended(terminal):
    ticks = iter(range(0, 1000, 10))
    with ProgressShow(terminal, "trial", 10, 0) as show:
        show._bar.get_time = lambda: next(ticks)
        for _ in range(4):
            show.show(["x"])
        assert show._bar.tasks[0].time_remaining is not None


def test_the_bar_is_gone_afterwards(terminal):
    with ProgressShow(terminal, "trial", 2, 0) as show:
        show.show(["x"])
    assert terminal.file.getvalue().endswith("\x1b[1A\x1b[2K")  # up a line, and erase it


def test_the_note_is_empty_before_anything_succeeded(trial):
    assert best_note([], "spikes") == ""
    assert best_note([trial(0, reason="NaN"), trial(1, 0.9, 10, stopped=3)], "spikes") == ""


def test_lines_and_notes_in_each_objective(trial):
    done = trial(1, 0.91234, 12345.6)
    assert trial_line(done, "spikes") == "block1 ta(temporal_reduction=2): accuracy 0.912, 12,346 spikes"
    assert outcome_text(done.outcome, "energy") == "accuracy 0.912, 1.23 µJ"
    assert outcome_text(Outcome.failed("NaN"), "spikes") == "failed: NaN"
    early = trial(2, 0.5, 100, stopped=3)
    assert outcome_text(early.outcome, "spikes") == "stopped after 3 epochs: accuracy 0.500, 100 spikes"
    assert best_note([done, early], "spikes") == "best accuracy 0.912, fewest 12,346 spikes"
    assert best_note([done], "energy") == "best accuracy 0.912, least 1.23 µJ"
    assert best_note([done], "synaptic_operations").endswith("fewest 617,280 synaptic operations")
    assert amount(0, "spikes") == "0 spikes"
