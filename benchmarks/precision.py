"""Accuracy and spikes of networks trained in bfloat16 against those in float32, seed by seed.

    python benchmarks/precision.py --seeds 24

The embedded default's data, network and recipe, without attention and with TCA everywhere, on the test split.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections import deque
from pathlib import Path

import torch
import yaml

from quietspike.core import Placement
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.networks import build_network, find_sites
from quietspike.core.training import train
from quietspike.search.config import Experiment
from quietspike.search.opening import open_dataset

DEFAULT = Path(__file__).resolve().parents[1] / "experiments" / "digits-default.yaml"


def measure(experiment, dataset, attention, precision, seed):
    """Accuracy in percent, and spikes a sample."""
    recipe = dataclasses.replace(experiment.train, precision=precision)
    placement = Placement.uniform({"name": attention}, find_sites(*experiment.network, dataset))
    network = build_network(*experiment.network, placement, dataset, seed)
    deque(train(network, dataset, recipe, seed=seed), maxlen=0)
    test = Batches(dataset.split("test"), 100)
    shown = evaluate(network, test.epoch(), recipe, torch.device("cpu"))
    return 100 * shown.accuracy, shown.cost.spikes


def main():
    """Print means, and the mean difference with its standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=24)
    seeds = range(max(2, parser.parse_args().seeds))
    torch.set_num_threads(2)
    experiment = Experiment.model_validate(yaml.safe_load(DEFAULT.read_text()))
    dataset = open_dataset(experiment)
    print(f"{'':6} {'float32 %':>10} {'bfloat16 %':>11} {'difference':>15} {'spikes':>8} {'spikes':>8}")
    for attention in ("none", "tca"):
        pairs = [
            [measure(experiment, dataset, attention, precision, seed) for precision in ("float32", "bfloat16")]
            for seed in seeds
        ]
        whole, half = (list(zip(*column, strict=True)) for column in zip(*pairs, strict=True))
        apart = [after - before for before, after in zip(whole[0], half[0], strict=True)]
        error = statistics.stdev(apart) / len(apart) ** 0.5
        (right, spikes), (half_right, half_spikes) = (map(statistics.mean, columns) for columns in (whole, half))
        row = f"{attention:6} {right:10.1f} {half_right:11.1f} {statistics.mean(apart):+7.2f} ± {error:.2f}"
        print(f"{row} {spikes:8,.0f} {half_spikes:8,.0f}")


if __name__ == "__main__":
    main()
