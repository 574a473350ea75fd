"""One run as whoever trains sees it: metrics, files and an end, all of which go to the spool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from quietspike.core.cost import Cost
from quietspike.core.training import EpochRow
from quietspike.search.spool import SpooledRun

REASON_TAG = "quietspike.reason"
STOPPED_TAG = "quietspike.stopped"


class TrackedRun:
    """One open run.

    Args:
        spooled: its file.
    """

    def __init__(self, spooled: SpooledRun) -> None:
        self._spooled = spooled
        self.stopped = False

    def log_epoch(self, row: EpochRow) -> None:
        """All metrics of an epoch, in one request."""
        self.log_metrics(epoch_metrics(row), step=row.epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Metrics, in one request."""
        self._spooled.add("metrics", step=step, values={key: float(value) for key, value in metrics.items()})

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file, as it is now."""
        self._spooled.add_file(path, folder)

    def stop(self, epoch: int) -> None:
        """End it as KILLED, since FINISHED is for full results; a tag names the epoch that it was stopped after."""
        reason = f"stopped early after epoch {epoch}"
        self._spooled.add("end", status="KILLED", tags={STOPPED_TAG: str(epoch), REASON_TAG: reason})
        self.stopped = True

    def end(self, status: str, reason: str | None = None) -> None:
        """End it as FINISHED, FAILED or KILLED; a tag says why."""
        self._spooled.add("end", status=status, tags={} if reason is None else {REASON_TAG: reason})


@contextmanager
def ending(run: TrackedRun) -> Iterator[None]:
    """End a run as the block ends: FINISHED, FAILED with the reason, or KILLED by Ctrl-C; not one that was stopped."""
    try:
        yield
    except Exception as error:
        run.end("FAILED", describe(error))
        raise
    except BaseException as error:
        run.end("KILLED", type(error).__name__)
        raise
    if not run.stopped:
        run.end("FINISHED")


def epoch_metrics(row: EpochRow) -> dict[str, float]:
    """All that is logged of an epoch."""
    return {
        "accuracy": row.accuracy,  # first: MLflow's comparison begins with the first
        **cost_metrics(row.cost),
        "loss": row.loss,
        "train_loss": row.train_loss,
        "train_accuracy": row.train_accuracy,
        "learning_rate": row.learning_rate,
        "seconds": row.seconds,
    }


def cost_metrics(cost: Cost) -> dict[str, float]:
    """The totals, and the firing rate of each neuron layer."""
    rates = {f"firing_rate/{name}": rate for name, rate in firing_rates(cost).items()}
    return {**cost.totals, **rates}


def firing_rates(cost: Cost) -> dict[str, float]:
    """Spikes a neuron and step, by layer."""
    return {layer.layer.removesuffix(".neuron"): layer.firing_rate for layer in cost.neuron_layers}


def describe(error: BaseException) -> str:
    """One line for an error."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])
