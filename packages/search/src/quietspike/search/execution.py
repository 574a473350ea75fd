"""One training of one design, as trials and confirmations share it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from quietspike.core import CheckpointError, Placement
from quietspike.core.batches import Batches
from quietspike.core.cost import Cost
from quietspike.core.evaluation import Evaluation, evaluate
from quietspike.core.latency import measure_latency
from quietspike.core.networks import build_network
from quietspike.core.training import DivergedError, EpochRow, resolve_device, train
from quietspike.core.weights import load_tensors, save_weights, sweep
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.results import Outcome
from quietspike.search.setting import spell
from quietspike.search.tracked_run import cost_metrics, epoch_metrics, firing_rates


class Log(Protocol):
    """What a training tells: MLflow's run, or one that keeps nothing."""

    def log_epoch(self, row: EpochRow) -> None:
        """The metrics of an epoch."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Other metrics."""

    def stop(self, epoch: int) -> None:
        """That it was stopped early, after an epoch."""


@dataclass(frozen=True)
class Training:
    """What to train and where to keep it.

    Args:
        base: network, data, recipe, as the search has them.
        design: which attention where, and what replaces the experiment's own.
        seed: of the weights and the order of samples.
        folder: for ``checkpoint.safetensors`` while it runs and ``weights.safetensors`` afterwards.
    """

    base: Experiment
    design: Design
    seed: int
    folder: Path

    @cached_property
    def experiment(self) -> Experiment:
        """The base with the design's settings in it."""
        return self.design.apply(self.base)

    @property
    def placement(self) -> Placement:
        """Which attention where."""
        return self.design.placement

    @property
    def record(self) -> dict[str, Any]:
        """What the weights depend on, enough to build the network again."""
        data = self.experiment.data
        network = {key: data[key] for key in ("dataset", "backbone", "neuron", "train")}
        return {"experiment": network, "placement": self.placement.data, "seed": self.seed}

    @property
    def weights(self) -> Path:
        """Where the trained weights are kept."""
        return self.folder / "weights.safetensors"


def run_training(
    training: Training,
    run: Log,
    worker: int = 0,
    *,
    test: bool = False,
    watch: Callable[[EpochRow], None] | None = None,
    goes_on: Callable[[int, Mapping[str, float]], bool] | None = None,
) -> Outcome:
    """Train a design, log it, and keep its weights; goes on from a checkpoint that was left whole.

    Args:
        training: what to train.
        run: gets the metrics of each epoch.
        worker: number of this worker, which decides its GPU.
        test: measure the test split at the end; else the outcome is that of the last epoch's validation.
        watch: called with each epoch's row.
        goes_on: asked at each rung, those of a checkpoint included, with the epoch and what was measured after it;
            where it says no, the training is stopped early, and its run too.

    Raises:
        DivergedError: when the loss, or what was measured at the end or where it was stopped, is not finite.
    """
    experiment = training.experiment
    dataset = open_dataset(experiment)
    device = resolve_device(experiment.device, worker)
    network = build_network(*experiment.network, training.placement, dataset, training.seed)
    checkpoint = training.folder / "checkpoint.safetensors"
    sweep(training.folder)
    drop_damaged(checkpoint)
    rows = train(
        network,
        dataset,
        experiment.train,
        seed=training.seed,
        device=device,
        checkpoint=checkpoint,
        record=training.record,
    )

    def totals_of(cost: Cost) -> dict[str, float]:
        if "latency" not in experiment.search.asked:
            return cost.totals
        frames, _ = next(Batches(dataset.split("validation"), 1).epoch())
        return {**cost.totals, "latency": measure_latency(network, frames, experiment.train)}

    seconds, epochs = 0.0, []
    for row in rows:
        seconds += row.seconds
        epochs.append(epoch_metrics(row))
        run.log_epoch(row)
        if watch is not None:
            watch(row)
        if goes_on is not None and row.epoch in experiment.rungs:
            totals = totals_of(row.cost)
            if not goes_on(row.epoch, {"accuracy": row.accuracy, **totals}):
                early = Outcome(row.accuracy, totals, firing_rates(row.cost), seconds, stopped=row.epoch)
                _refuse_infinite(early, f"epoch {row.epoch}")
                run.stop(row.epoch)
                return replace(early, curve=_curve(epochs))
    measured: EpochRow | Evaluation = row  # a recipe has at least one epoch
    if test:
        batches = Batches(dataset.split("test"), experiment.train.batch_size)
        measured = evaluate(network, batches.epoch(), experiment.train, device, batches.voting, images=batches.images)
        shown = {"accuracy": measured.accuracy, "loss": measured.loss, **cost_metrics(measured.cost)}
        run.log_metrics({f"test_{name}": value for name, value in shown.items()}, step=row.epoch)
    totals = totals_of(measured.cost)
    if "latency" in totals:
        run.log_metrics({"test_latency" if test else "latency": totals["latency"]}, step=row.epoch)
    outcome = Outcome(measured.accuracy, totals, firing_rates(measured.cost), seconds, curve=_curve(epochs))
    _refuse_infinite(outcome, "the last epoch")
    save_weights(training.weights, network, training.record)
    checkpoint.unlink(missing_ok=True)
    return outcome


def _curve(epochs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {name: [epoch[name] for epoch in epochs] for name in epochs[0]}


def _refuse_infinite(outcome: Outcome, when: str) -> None:
    for name, value in {"accuracy": outcome.accuracy, **outcome.totals}.items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value} after {when}")


def drop_damaged(checkpoint: Path) -> None:
    """Remove a checkpoint that a power failure cut, since it would keep its placement from ever being trained."""
    try:
        load_tensors(checkpoint)
    except CheckpointError:
        checkpoint.unlink(missing_ok=True)


def design_params(labels: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """MLflow's parameters of a design: the label of each site, and its settings."""
    sites = {f"site.{site}": label for site, label in labels.items()}
    return sites | {f"set.{key}": spell(value) for key, value in settings.items()}
