"""What stands for MLflow where nothing is to be logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quietspike.core.training import EpochRow


class SilentRun:
    """Has the methods of ``TrackedRun`` and keeps nothing."""

    def log_epoch(self, row: EpochRow) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Nothing."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Nothing."""

    def stop(self, epoch: int) -> None:
        """Nothing."""

    def end(self, status: str, reason: str | None = None) -> None:
        """Nothing."""


class Untracked:
    """Has the methods of ``Tracker``; its runs keep nothing."""

    @property
    def parent(self) -> SilentRun:
        """The run of nothing."""
        return SilentRun()

    @contextmanager
    def child(self, kind: str, name: str, params: Mapping[str, Any]) -> Iterator[SilentRun]:
        """Likewise."""
        yield SilentRun()

    def end_dead(self) -> None:
        """Nothing is running."""

    def end_all(self) -> None:
        """Nothing is running."""

    def end_named(self, name: str) -> None:
        """Nothing is running."""
