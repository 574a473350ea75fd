"""A supernet's training: one of all placements, in place of one for each."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietspike.core import QuietspikeError
from quietspike.core.recipe import Recipe
from quietspike.core.shared_weights import Scorer
from quietspike.core.supernet import Supernet, build_supernet
from quietspike.core.training import EpochRow, resolve_device, train
from quietspike.core.weights import load_tensors, load_weights, save_weights, sweep, write_whole
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.execution import drop_damaged
from quietspike.search.job import Job
from quietspike.search.processes import Watch, run_crew
from quietspike.search.space import Space
from quietspike.search.study import DEATHS
from quietspike.search.tables import write_csv
from quietspike.search.tracked_run import describe

EPOCHS = 2
"""So many times the epochs of a trial, where nothing else is asked for; four times ranked digits no better."""


@dataclass(frozen=True)
class SupernetTraining:
    """What is trained, and where it is kept.

    Args:
        experiment: network, data, recipe and ``search.supernet``.
        space: its candidates.
        folder: for ``checkpoint.safetensors`` while it runs, ``weights.safetensors`` afterwards, and ``epochs.csv``.
    """

    experiment: Experiment
    space: Space
    folder: Path

    @classmethod
    def of(cls, job: Job) -> SupernetTraining:
        """That of a search."""
        return cls(job.experiment, job.space, job.folder / "supernet")

    @property
    def recipe(self) -> Recipe:
        """A trial's, over more epochs."""
        recipe = self.experiment.train
        return dataclasses.replace(recipe, epochs=self.experiment.search.supernet.epochs or EPOCHS * recipe.epochs)

    @property
    def weights(self) -> Path:
        """Where the trained weights are kept."""
        return self.folder / "weights.safetensors"

    @property
    def record(self) -> dict[str, Any]:
        """What the weights depend on."""
        data = self.experiment.data
        network = {key: data[key] for key in ("dataset", "backbone", "neuron", "train")}
        candidates = {site: [choice.data for choice in choices] for site, choices in self.space.choices.items()}
        options = self.experiment.search.supernet
        drawn = {"uniform": options.uniform, "parts": options.parts}
        return {"experiment": network, "candidates": candidates, "supernet": drawn, "seed": self.experiment.seed}

    def build(self) -> Supernet:
        """Untrained."""
        options = self.experiment.search.supernet
        return build_supernet(
            *self.experiment.network,
            self.space.choices,
            open_dataset(self.experiment),
            self.experiment.seed,
            kept=list(dict.fromkeys(self.space.uniform.values())),
            uniform=options.uniform,
            parts=options.parts,
        )

    def run(self, watch: Callable[[EpochRow], None], worker: int = 0) -> None:
        """Train it, from its checkpoint where there is one, and keep its weights.

        Args:
            watch: called with each epoch's row; its validation shows one uniform placement.
            worker: which decides the GPU.

        Raises:
            DivergedError: when the loss is not finite.
        """
        checkpoint = self.folder / "checkpoint.safetensors"
        sweep(self.folder)
        drop_damaged(checkpoint)
        supernet = self.build()
        rows = train(
            supernet,
            open_dataset(self.experiment),
            self.recipe,
            seed=self.experiment.seed,
            device=resolve_device(self.experiment.device, worker),
            checkpoint=checkpoint,
            record=self.record,
        )
        shown: list[dict[str, float]] = []
        for row in rows:
            names = ("epoch", "train_loss", "train_accuracy", "loss", "accuracy", "learning_rate", "seconds")
            shown.append({name: getattr(row, name) for name in names})
            write_csv(self.folder / "epochs.csv", shown)
            watch(row)
        save_weights(self.weights, supernet, self.record)
        checkpoint.unlink(missing_ok=True)

    def open_scorer(self, worker: int = 0) -> Scorer:
        """What scores placements with the trained weights.

        Raises:
            CheckpointError: if these are damaged or not there.
        """
        options, device = self.experiment.search.supernet, resolve_device(self.experiment.device, worker)
        supernet = self.build()
        load_weights(supernet, load_tensors(self.weights)[0], str(self.weights))
        return Scorer(
            supernet.to(device),
            open_dataset(self.experiment),
            self.experiment.train,
            seed=self.experiment.seed,
            calibration=options.calibration,
            samples=options.samples,
            device=device,
        )


def train_supernet(job: Job, watch: Watch) -> None:
    """Train a search's supernet in a process of its own, which is replaced where it dies.

    Raises:
        QuietspikeError: if the training fails, or its process dies again and again within an epoch.
    """
    training = SupernetTraining.of(job)
    died_at: list[int] = []

    def recover() -> int:
        job.tracker.end_dead()
        died_at.append(epochs_done(training.folder))
        if died_at.count(died_at[-1]) >= DEATHS:
            raise QuietspikeError(f"the supernet's worker died {DEATHS} times in epoch {died_at[-1] + 1}")
        return 1

    threads = job.experiment.search.supernet.threads or job.threads
    if not training.weights.exists():
        run_crew(_train, (job,), workers=1, threads=threads, watch=watch, lost=recover)


def epochs_done(folder: Path) -> int:
    """How many epochs a supernet's folder knows of."""
    path = folder / "epochs.csv"
    return max(0, len(path.read_text("utf-8").splitlines()) - 1) if path.exists() else 0


def _train(job: Job, worker: int) -> None:
    training = SupernetTraining.of(job)
    try:
        with job.tracker.child("supernet", "supernet", {}) as run:
            training.run(run.log_epoch, worker)
    except OSError:
        raise
    except Exception as error:  # a plugin may raise anything
        path = training.folder / "error.txt"
        write_whole(path, traceback.format_exc().encode())
        raise QuietspikeError(f"the supernet failed with {describe(error)}; see {path}") from error
