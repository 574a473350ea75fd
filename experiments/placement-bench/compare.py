"""Compares samplers, with and without early stopping, on the table of every placement; trains nothing.

    python experiments/placement-bench/compare.py --seeds 30 --workers 2

The searches are kept in ``runs.jsonl.xz`` beside the tables that are made from them; those that it holds are not
simulated again. ``--supernet supernet_ranking.csv`` (see ``supernet_ranking.py``) adds searches that train, one after
another, what real supernets put forward. Before the first they have spent the epochs of the supernet, and what scoring
takes: each sample that only runs forward counts as a third of one that is trained with.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import lzma
import math
import time
from pathlib import Path

from quietspike.core import Placement, QuietspikeError
from quietspike.core.weights import write_whole
from quietspike.search.comparing import Bench, Comparison, Method, Point, compare, follow
from quietspike.search.comparison_report import budget_table, write_comparison
from quietspike.search.config import load_experiment
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.results import Outcome
from quietspike.search.selection import rank
from quietspike.search.supernet import SupernetTraining

HERE = Path(__file__).parent
SAMPLERS = ("random", "grid", "tpe", "nsga2", "gp")
WRITE_EVERY = 30.0


def main() -> None:
    """Simulate what is missing, then write the curves, the figure and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--experiment", type=Path, default=HERE / "digits.yaml")
    parser.add_argument("--seeds", type=int, default=30, help="searches of each method")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--horizon", type=float, default=0.5, help="searches end at this share of training everything")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, choices=SAMPLERS)
    parser.add_argument("--supernet", type=Path, help="CSV of supernet_ranking.py")
    parser.add_argument("--output", type=Path, default=HERE / "comparison", help="folder")
    options, overrides = parser.parse_known_args()
    try:
        experiment = load_experiment(options.experiment, overrides)
        bench = Bench.open(experiment, options.horizon)
    except QuietspikeError as error:
        parser.error(str(error))
    path = options.output / "runs.jsonl.xz"
    about = {"table": hashlib.sha256(experiment.search.table.read_bytes()).hexdigest()}
    about |= {"early_stopping": str(experiment.search.early_stopping), "horizon": str(options.horizon)}
    runs = read_runs(path, about)
    methods = [Method(sampler, early) for early in (False, True) for sampler in options.samplers]
    written = begun = time.monotonic()
    for method, seed, points in compare(bench, methods, options.seeds, options.workers, runs.keys()):
        runs[method.name, seed] = points
        print(f"{method.name}, seed {seed}: {len(points)} trainings to the end", flush=True)
        if time.monotonic() - written > WRITE_EVERY:
            write_runs(path, about, runs)
            written = time.monotonic()
    if options.supernet is not None:
        for seed, points in enumerate(supernet_searches(bench, options.supernet)):
            runs["supernet", seed] = points
    write_runs(path, about, runs)
    names = list(dict.fromkeys(name for name, _ in sorted(runs, key=lambda run: (len(run[0]) > 8, run))))
    comparison = Comparison(
        bench.truth, {name: [runs[key] for key in sorted(runs) if key[0] == name] for name in names}
    )
    write_comparison(comparison, options.output)
    print(f"{time.monotonic() - begun:.0f} s\n\n{budget_table(comparison)}")


def supernet_searches(bench: Bench, path: Path) -> list[list[Point]]:
    """One for each supernet whose scores the file has."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    training = SupernetTraining(bench.experiment, bench.space, Path())
    dataset, recipe = open_dataset(bench.experiment), bench.experiment.train
    train, validation = (len(dataset.split(name)) for name in ("train", "validation"))
    calibration = bench.experiment.search.supernet.calibration * recipe.batch_size
    scoring = len(rows) * (calibration + validation) / (3 * train + validation)
    spent = math.ceil(training.recipe.epochs + scoring)
    searches = []
    for seed in range(sum(name.startswith("shared_accuracy_") for name in rows[0])):
        scores = {
            Placement.from_json(row["placement"]): Outcome(
                float(row[f"shared_accuracy_{seed}"]), {"spikes": float(row[f"shared_spikes_{seed}"])}
            )
            for row in rows
        }
        points = follow(bench.truth, map(Design, rank(scores, bench.experiment.search.goals)), spent)
        searches.append([point for point in points if point.spent <= bench.horizon * bench.truth.exhausting])
    return searches


def read_runs(path: Path, about: dict[str, str]) -> dict[tuple[str, int], list[Point]]:
    """Searches that were kept, if they are of the same table."""
    if not path.exists():
        return {}
    header, *lines = map(json.loads, lzma.decompress(path.read_bytes()).splitlines())
    if header != about:
        raise SystemExit(f"{path}: was made from another table or early stopping; remove it to begin anew")
    return {(line["method"], line["seed"]): [Point(*point) for point in line["points"]] for line in lines}


def write_runs(path: Path, about: dict[str, str], runs: dict[tuple[str, int], list[Point]]) -> None:
    """Keep searches."""
    lines = [about, *({"method": name, "seed": seed, "points": runs[name, seed]} for name, seed in sorted(runs))]
    write_whole(path, lzma.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))


if __name__ == "__main__":
    main()
