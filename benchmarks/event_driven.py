"""Inference of a trained TCSA network, dense and event-driven, against its spikes.

    python benchmarks/event_driven.py

MA-SNN's network of three layers (64-128-128 channels, 32×32, eight steps, TCSA after each convolution) learns the
embedded handwritten digits for a minute or two. Then it classifies 128 others in batches of 8, two threads: by torch's
dense convolutions with weights contiguous and channels last, and event-driven, the choice for each layer included. The
table repeats that with the neurons' thresholds scaled, so that the same network spikes more or less.
"""

from __future__ import annotations

import copy

import torch
from timing import best_seconds, print_times

from quietspike.core import Placement
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.event_driven import event_driven
from quietspike.core.networks import build_network
from quietspike.core.neurons import LIF
from quietspike.core.recipe import Recipe
from quietspike.core.training import train
from quietspike.datasets import DigitsDVS

RECIPE = Recipe(epochs=6, learning_rate=1e-3, batch_size=16)
THRESHOLDS = (0.25, 0.5, 1, 2, 4)
SAMPLES, BATCH = 128, 8


def main():
    """Print milliseconds of the split, and how they follow the spikes."""
    torch.set_num_threads(2)
    digits = DigitsDVS(size=32, steps=8, train=256, validation=64, test=SAMPLES)
    blocks = {f"block{number}.current": "tcsa" for number in (1, 2, 3)}
    placement = Placement({**blocks, "fc1.current": "ta", "fc2.current": "ta"})
    network = build_network({"name": "conv3"}, {"name": "lif"}, placement, digits, seed=0)
    for row in train(network, digits, RECIPE, seed=0):
        print(f"epoch {row.epoch}: accuracy {row.accuracy:.3f}, {row.seconds:.0f} s", flush=True)
    batches = list(Batches(digits.split("test"), BATCH).epoch())
    shown = measure(network, batches)
    print(f"test: accuracy {shown.accuracy:.3f}, NASAR {shown.cost.firing_rate:.4f}\n")
    print_times(best_seconds(ways(network, batches), rounds=5))
    print(f"\n{'threshold':>9} {'NASAR':>7} {'spikes':>8} {'dense ms':>9} {'events ms':>10} {'ratio':>6}  event-driven")
    for factor in THRESHOLDS:
        print(line(scaled(network, factor), factor, batches))


def ways(network, batches):
    """What classifies all batches: event-driven first."""
    contiguous = copy.deepcopy(network).to(memory_format=torch.contiguous_format)

    def gather():
        with event_driven(network):
            classify(network, batches)

    def gather_and_count():
        with event_driven(network):
            measure(network, batches)

    return {
        "event-driven": gather,
        "dense, channels last": lambda: classify(network, batches),
        "dense, contiguous": lambda: classify(contiguous, batches),
        "event-driven, with costs": gather_and_count,
        "dense, with costs": lambda: measure(network, batches),
    }


def line(network, factor, batches):
    """A row of the table; the faster dense way counts."""
    dense = measure(network, batches)
    with event_driven(network) as layers:
        events = measure(network, batches)
    chosen = sum(layer.chosen is True for layer in layers.values())
    seconds = dict(list(ways(network, batches).items())[:3])
    gathered, *others = best_seconds(seconds, rounds=3).values()
    spikes, ratio = dense.cost.spikes, min(others) / gathered
    return (
        f"{factor:9g} {dense.cost.firing_rate:7.4f} {spikes:8,.0f} {1e3 * min(others):9.0f} {1e3 * gathered:10.0f} "
        f"{ratio:6.2f}  {chosen} of {len(layers)} layers; accuracy {events.accuracy:.3f}, dense {dense.accuracy:.3f}; "
        f"spikes differ by {abs(events.cost.spikes - spikes) / spikes:.0e}"
    )


@torch.no_grad()
def classify(network, batches):
    """Scores, and nothing else."""
    for frames, _ in batches:
        network(frames)


def measure(network, batches):
    """Accuracy and costs."""
    return evaluate(network, batches, RECIPE, torch.device("cpu"))


def scaled(network, factor):
    """The same network with other thresholds."""
    other = copy.deepcopy(network)
    for module in other.modules():
        if isinstance(module, LIF):
            module.threshold *= factor
    return other


if __name__ == "__main__":
    main()
