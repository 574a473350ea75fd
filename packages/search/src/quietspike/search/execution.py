"""One training of one placement, as trials and confirmations share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietspike.core import Placement
from quietspike.core.batches import Batches
from quietspike.core.evaluation import Evaluation, evaluate
from quietspike.core.networks import build_network
from quietspike.core.training import EpochRow, resolve_device, train
from quietspike.core.weights import save_weights
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.results import Outcome
from quietspike.search.tracking import TrackedRun, cost_metrics, firing_rates


@dataclass(frozen=True)
class Training:
    """What to train and where to keep it.

    Args:
        experiment: network, data, recipe.
        placement: which attention where.
        seed: of the weights and the order of samples.
        folder: for ``checkpoint.safetensors`` while it runs and ``weights.safetensors`` afterwards.
    """

    experiment: Experiment
    placement: Placement
    seed: int
    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        """What the weights depend on, enough to build the network again."""
        data = self.experiment.data
        network = {key: data[key] for key in ("dataset", "backbone", "neuron", "train", "device")}
        return {"experiment": network, "placement": self.placement.data, "seed": self.seed}

    @property
    def weights(self) -> Path:
        """Where the trained weights are kept."""
        return self.folder / "weights.safetensors"


def run_training(
    training: Training,
    run: TrackedRun,
    worker: int = 0,
    *,
    test: bool = False,
    watch: Callable[[EpochRow], None] | None = None,
) -> Outcome:
    """Train a placement, log it, and keep its weights; goes on from a checkpoint that a killed worker left.

    Args:
        training: what to train.
        run: gets the metrics of each epoch.
        worker: number of this worker, which decides its GPU.
        test: measure the test split at the end; else the outcome is that of the last epoch's validation.
        watch: called with each epoch's row.

    Raises:
        DivergedError: when the loss is not finite.
    """
    experiment, start = training.experiment, time.perf_counter()
    dataset = open_dataset(experiment)
    device = resolve_device(experiment.device, worker)
    backbone, neuron = experiment.backbone.data, experiment.neuron.data
    network = build_network(backbone, neuron, training.placement, dataset, training.seed)
    checkpoint = training.folder / "checkpoint.safetensors"
    rows = train(
        network,
        dataset,
        experiment.train,
        seed=training.seed,
        device=device,
        checkpoint=checkpoint,
        record=training.record,
    )
    row: EpochRow | None = None
    for row in rows:
        run.log_epoch(row)
        if watch is not None:
            watch(row)
    assert row is not None  # a recipe has at least one epoch
    measured: EpochRow | Evaluation = row
    if test:
        batches = Batches(dataset.split("test"), experiment.train.batch_size)
        measured = evaluate(network, batches.epoch(), experiment.train, device)
        shown = {"accuracy": measured.accuracy, "loss": measured.loss, **cost_metrics(measured.cost)}
        run.log_metrics({f"test_{name}": value for name, value in shown.items()}, step=row.epoch)
    save_weights(training.weights, network, training.record)
    checkpoint.unlink(missing_ok=True)
    return Outcome(
        accuracy=measured.accuracy,
        totals=measured.cost.totals,
        rates=firing_rates(measured.cost),
        seconds=time.perf_counter() - start,
    )


def site_params(labels: Mapping[str, str]) -> dict[str, str]:
    """MLflow's parameters of a placement."""
    return {f"site.{site}": label for site, label in labels.items()}
