"""Where the time of a training goes: one epoch of TCSA on N-MNIST through the command's own path, and one of its steps.

    python benchmarks/where_time_goes.py

MA-SNN's network for Gesture, T = 16, B = 4, two threads, recordings from QUIETSPIKE_TEST_DATA. The first table is
cProfile's of the whole: data, training, evaluation, cost, MLflow. The second is torch.profiler's of a step, by kind.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from rich.console import Console
from timing import recordings
from torch.profiler import ProfilerActivity, profile

from quietspike.core import Placement
from quietspike.core.batches import Batches
from quietspike.core.networks import build_network, find_sites
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.opening import open_dataset
from quietspike.search.single import train_design

PARTS = {  # by the file and name of what cProfile sees, cumulative
    "data loading": [("batches.py", "epoch")],
    "forward, training and evaluation": [("recipe.py", "run")],
    "backward": [("_tensor.py", "backward")],
    "norm of the gradient and optimiser": [("adam.py", "step"), ("training.py", "_clip")],
    "counting costs": [("metering.py", "count"), ("metering.py", "cost"), ("metering.py", "_begin")],
    "checkpoints and weights": [("weights.py", "save_tensors"), ("weights.py", "load_tensors")],
    "MLflow, each epoch": [("tracking.py", "log_epoch"), ("tracking.py", "log_metrics")],
}
KINDS = {  # by a part of the profiler's name
    "convolutions and linear layers": ["conv", "addmm", "linear", "aten::mm"],
    "neurons": ["quietspike::fire"],
    "batch normalisation and pooling": ["_Normalise", "batch_norm", "avg_pool"],
    "attention": ["_Planes", "_Places", "_Gate"],
    "optimiser": ["adam", "Adam", "zero_grad"],
}


def experiment(output):
    """One epoch of TCSA everywhere."""
    return Experiment.model_validate(
        {
            "name": "where-time-goes",
            "output": str(output),
            "dataset": {"name": "nmnist", "root": str(recordings("nmnist-small")), "steps": 16},
            "backbone": {"name": "conv3"},
            "train": {"epochs": 1, "batch_size": 4},
            "search": {"threads": 2},
        }
    )


def whole(chosen, placement):
    """Seconds by part, and of all."""
    profiler = cProfile.Profile()
    profiler.enable()
    train_design(chosen, Design(placement), Console(quiet=True))
    profiler.disable()
    stats = pstats.Stats(profiler)
    found = dict.fromkeys(PARTS, 0.0)
    for (file, _, name), (_, _, _, cumulative, _) in stats.stats.items():
        for part, places in PARTS.items():
            if (Path(file).name, name) in places:
                found[part] += cumulative
    found["forward, training and evaluation"] -= found["counting costs"]  # which hooks do inside
    return found, stats.total_tt


def step(chosen, placement):
    """Milliseconds of one training step by kind, the mean of ten."""
    dataset = open_dataset(chosen)
    network = build_network(*chosen.network, placement, dataset, 0).train()
    optimizer = chosen.train.optimize(network.parameters())
    frames, labels = next(iter(Batches(dataset.split("train"), 4, 0).epoch()))

    def run():
        loss = chosen.train.loss_of(chosen.train.run(network, frames), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(10):
            run()
    found = defaultdict(float)
    for event in profiler.key_averages():
        if not event.key.startswith("ProfilerStep"):
            kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), "all else")
            found[kind] += event.self_cpu_time_total / 1e4
    return found


def show(title, unit, found, total):
    """Print a table, the largest first."""
    print(f"{title:40} {unit:>8} {'share':>7}")
    for name, value in sorted(found.items(), key=lambda item: -item[1]):
        print(f"{name:40} {value:8.2f} {100 * value / total:6.2f}%")


def main():
    """Print both tables."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        chosen = experiment(Path(folder))
        placement = Placement.uniform({"name": "tcsa"}, find_sites(*chosen.network, open_dataset(chosen)))
        kinds = step(chosen, placement)  # which compiles, and makes the cache of frames
        parts, total = whole(chosen, placement)
        show("one epoch, 800 recordings", "s", {**parts, "all else": total - sum(parts.values())}, total)
        print()
        show("one training step", "ms", kinds, sum(kinds.values()))


if __name__ == "__main__":
    main()
