"""Does a supernet rank placements as trainings of their own do? Kendall's tau, for accuracy and spikes.

    python experiments/placement-bench/supernet_ranking.py EXPERIMENT.yaml TRIALS [TRIALS ...] [--seeds 3]
        [--output FOLDER] [--key value ...]

TRIALS is a table of quietspike tabulate (.jsonl.xz), or what a search of the same network and data leaves, or any CSV
with the columns placement (JSON), accuracy and spikes: figures of the validation split. Rows of one placement, as of
several seeds and files, count with their mean; rows with a reason, or stopped early, do not. One supernet is trained
for each seed, kept in FOLDER and found there the next time. Prints a line for each seed and one for the mean over the
seeds, and writes supernet_ranking.csv, which compare.py makes searches of.
"""

import argparse
import csv
import math
from collections import defaultdict
from pathlib import Path

import torch

from quietspike.core import DataError, OptionError, Placement, QuietspikeError
from quietspike.search.agreement import agreement
from quietspike.search.config import load_experiment
from quietspike.search.space import open_space
from quietspike.search.supernet import SupernetTraining
from quietspike.search.tables import write_csv
from quietspike.search.tabulation import read_table

FIGURES = ("accuracy", "spikes")


def read_means(paths):
    """The mean of each figure, by placement."""
    rows = defaultdict(list)
    for path in paths:
        for placement, figures in read_trials(path):
            rows[placement].append(figures)
    return {placement: [math.fsum(column) / len(found) for column in zip(*found, strict=True)]
            for placement, found in rows.items()}  # fmt: skip


def read_trials(path):
    """Placement and figures of each training that ran to its end."""
    if path.suffix == ".xz":
        ended = [entry for entry in read_table(path).entries.values() if entry.outcome.complete]
        return [(entry.placement, [entry.final.value(figure) for figure in FIGURES]) for entry in ended]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if not (row.get("reason") or row.get("stopped"))]
        return [(Placement.from_json(row["placement"]), [float(row[figure]) for figure in FIGURES]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is no CSV with the columns placement, accuracy and spikes ({error})") from None


def score_all(experiment, folder, placements):
    """The figures of each placement with the shared weights of one supernet."""
    training = SupernetTraining(experiment, open_space(experiment), folder)
    if not training.weights.exists():
        training.run(lambda row: print(f"  epoch {row.epoch}: train accuracy {row.train_accuracy:.3f}", flush=True))
    scorer = training.open_scorer()
    shown = [scorer.score(placement) for placement in placements]
    return [(evaluation.accuracy, evaluation.cost.spikes) for evaluation in shown]


def main():
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("experiment", type=Path, help="the search's YAML, or - for the embedded default")
    parser.add_argument("trials", type=Path, nargs="+", help="table or CSV of trainings of their own")
    parser.add_argument("--seeds", type=int, default=1, help="supernets")
    parser.add_argument("--output", type=Path, default=Path("runs/supernet-ranking"))
    options, overrides = parser.parse_known_args()
    try:
        rank_all(options, overrides)
    except (QuietspikeError, OSError) as error:
        parser.error(str(error))


def rank_all(options, overrides):
    """Train and score what is missing, compare, and write.

    Raises:
        QuietspikeError: for a mistake in the options, before anything is trained.
    """
    if options.seeds < 1:
        raise OptionError(f"--seeds {options.seeds}: must be at least 1")
    yaml = None if str(options.experiment) == "-" else options.experiment
    experiments = [
        load_experiment(yaml, [*overrides, "--search.strategy", "supernet", "--seed", str(seed)])
        for seed in range(options.seeds)
    ]
    alone = read_means(options.trials)
    if len(alone) < 2:
        raise DataError(f"{', '.join(map(str, options.trials))}: {len(alone)} placements; it takes at least 2")
    choices = open_space(experiments[0]).choices
    for placement in alone:
        for site, choice in placement.items():
            if choice not in choices.get(site, ()):
                raise OptionError(f"{placement.label}: is not in the space, which has no {choice.label} at {site}")
    placements = sorted(alone, key=lambda placement: placement.json)
    theirs = list(zip(*(alone[placement] for placement in placements), strict=True))
    every = []
    for seed, experiment in enumerate(experiments):
        torch.set_num_threads(experiment.search.supernet.threads or experiment.search.threads)
        every.append(score_all(experiment, options.output / experiment.folder.name, placements))
        show(f"seed {seed}", zip(*every[-1], strict=True), theirs)
    means = [tuple(math.fsum(column) / len(column) for column in zip(*found, strict=True))
             for found in zip(*every, strict=True)]  # fmt: skip
    show("mean of seeds", zip(*means, strict=True), theirs)
    rows = [
        {"placement": placement.json, **dict(zip(FIGURES, alone[placement], strict=True)),
         **{f"shared_{figure}_{seed}": value for seed, shared in enumerate(of_seeds)
            for figure, value in zip(FIGURES, shared, strict=True)}}
        for placement, *of_seeds in zip(placements, *every, strict=True)
    ]  # fmt: skip
    write_csv(options.output / "supernet_ranking.csv", rows)


def show(name, ours, theirs):
    """A line of both taus."""
    taus = (f"{figure} {agreement(*pair)}" for figure, *pair in zip(FIGURES, ours, theirs, strict=True))
    print(f"{name}: Kendall's tau of {', of '.join(taus)}", flush=True)


if __name__ == "__main__":
    main()
