"""Progress of a search: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from quietspike.search.goals import LESS
from quietspike.search.results import Outcome, TrialResult

UNITS = {"energy": "µJ", "latency": "ms"}
"""Of what is not counted."""


class ProgressShow:
    """Shows how far a phase is.

    Args:
        console: where.
        title: of the phase.
        total: pieces of work in it.
        done: of these, ended before.
    """

    def __init__(self, console: Console, title: str, total: int, done: int) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._done = done
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True)
        self._task = self._bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:  # elsewhere it would print an empty line
            self._bar.stop()

    def show(self, lines: Sequence[str], note: str = "") -> None:
        """Say what has ended since the last time.

        Args:
            lines: one for each piece of work.
            note: best figures so far.
        """
        for line in lines:
            self._done += 1
            self._console.print(f"{self._title} {self._done}/{self._total}: {line}", highlight=False, markup=False)
        self._bar.update(self._task, completed=self._done, note=note)

    def reach(self, done: int) -> None:
        """Say how many pieces have ended, where they are too many for a line each: there is one a tenth."""
        tenth = 10 * done // self._total > 10 * self._done // self._total
        self._done = done
        if tenth:
            self._console.print(f"{self._title} {done}/{self._total}", highlight=False, markup=False)
        self._bar.update(self._task, completed=done)


def trial_line(trial: TrialResult, objective: str) -> str:
    """One line for a trial."""
    return f"{trial.design.label}: {outcome_text(trial.outcome, objective)}"


def outcome_text(outcome: Outcome, objective: str) -> str:
    """Accuracy and objective, or the reason of a failure."""
    if outcome.reason is not None:
        return f"failed: {outcome.reason}"
    early = "" if outcome.stopped is None else f"stopped after {epochs(outcome.stopped)}: "
    return f"{early}accuracy {outcome.accuracy:.3f}, {amount(outcome.totals[objective], objective)}"


def best_note(trials: Sequence[TrialResult], objective: str) -> str:
    """Best accuracy and least cost so far."""
    good = [trial.outcome for trial in trials if trial.outcome.complete]
    if not good:
        return ""
    least = min(outcome.totals[objective] for outcome in good)
    word = "least" if objective in LESS else "fewest"
    return f"best accuracy {max(outcome.accuracy for outcome in good):.3f}, {word} {amount(least, objective)}"


def epochs(count: int) -> str:
    """So many of them.

    >>> epochs(1), epochs(1234)
    ('1 epoch', '1,234 epochs')
    """
    return f"{count:,} epoch{'' if count == 1 else 's'}"


def amount(value: float, objective: str) -> str:
    """A cost with its unit.

    >>> amount(12345.6, "spikes"), amount(0.51234, "energy")
    ('12,346 spikes', '0.512 µJ')
    """
    if objective in UNITS:
        return f"{value:.3g} {UNITS[objective]}"
    return f"{value:,.0f} {objective.replace('_', ' ')}"


def short_number(value: float) -> str:
    """With as many digits as one reads."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
