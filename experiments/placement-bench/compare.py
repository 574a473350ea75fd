"""Compares samplers, with and without early stopping, on the table of every placement; trains nothing.

    python experiments/placement-bench/compare.py --seeds 30 --workers 2 [--key value ...]

The searches are kept in ``runs.jsonl.xz`` beside the tables that are made from them; those that it holds are not
simulated again, and are shown with the others. ``--supernet supernet_ranking.csv`` (see ``supernet_ranking.py``) adds
searches that train, one after another, what real supernets put forward. Before the first they have spent the epochs of
the supernet, and what scoring takes: each sample that only runs forward counts as a third of one that is trained with.
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
from typing import Any

from quietspike.core import DataError, OptionError, Placement, QuietspikeError
from quietspike.core.weights import write_whole
from quietspike.search.comparing import EARLY, Bench, Comparison, Method, Point, compare, follow
from quietspike.search.comparison_report import TENTH, budget_table, write_comparison
from quietspike.search.config import load_experiment
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.results import Outcome
from quietspike.search.selection import rank
from quietspike.search.supernet import SupernetTraining

HERE = Path(__file__).parent
SAMPLERS = ("random", "grid", "tpe", "nsga2", "gp")
SHAPING = ("sites", "candidates", "objectives", "population", "early_stopping")
SCORE = "shared_accuracy_"
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
        run(options, overrides)
    except (QuietspikeError, OSError) as error:
        parser.error(str(error))


def run(options: argparse.Namespace, overrides: list[str]) -> None:
    """What was asked for.

    Raises:
        QuietspikeError: for a mistake in it, before anything is simulated.
    """
    if min(options.seeds, options.workers) < 1:
        raise OptionError(f"--seeds {options.seeds}, --workers {options.workers}: must be at least 1")
    if not TENTH <= options.horizon <= 1:  # by a tenth it is said what has not been found
        raise OptionError(f"--horizon {options.horizon}: must lie between {TENTH} and 1")
    experiment = load_experiment(options.experiment, overrides)
    bench = Bench.open(experiment, options.horizon)
    path = options.output / "runs.jsonl.xz"
    search = experiment.data["search"]
    about = {"table": hashlib.sha256(experiment.search.table.read_bytes()).hexdigest(), "horizon": options.horizon}
    about |= {key: search[key] for key in SHAPING}
    runs = read_runs(path, about)
    if options.supernet is not None:
        runs = {(name, seed): points for (name, seed), points in runs.items() if name != "supernet"}
        runs |= {("supernet", seed): p for seed, p in enumerate(supernet_searches(bench, options.supernet))}
    methods = [Method(sampler, early) for early in (False, True) for sampler in options.samplers]
    written = begun = time.monotonic()
    try:
        for method, seed, points in compare(bench, methods, options.seeds, options.workers, runs.keys()):
            runs[method.name, seed] = points
            print(f"{method.name}, seed {seed}: {len(points) - 1} trainings to the end", flush=True)
            if time.monotonic() - written > WRITE_EVERY:
                write_runs(path, about, runs)
                written = time.monotonic()
    finally:
        write_runs(path, about, runs)
    names = list(dict.fromkeys(name for name, _ in sorted(runs, key=lambda run: (run[0].endswith(EARLY), run))))
    comparison = Comparison(
        bench.truth, {name: [runs[key] for key in sorted(runs) if key[0] == name] for name in names}
    )
    write_comparison(comparison, options.output)
    print(f"{time.monotonic() - begun:.0f} s\n\n{budget_table(comparison)}")


def supernet_searches(bench: Bench, path: Path) -> list[list[Point]]:
    """One for each supernet whose scores the file has."""
    if bench.truth.objective != "spikes":
        raise OptionError(f"--supernet {path}: has scores of spikes, not of {bench.truth.objective}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    supernets = [name.removeprefix(SCORE) for name in (rows[0] if rows else ()) if name.startswith(SCORE)]
    try:
        placements = [Placement.from_json(row["placement"]) for row in rows]
        scores = [
            [Outcome(float(row[f"{SCORE}{seed}"]), {"spikes": float(row[f"shared_spikes_{seed}"])}) for row in rows]
            for seed in supernets
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"--supernet {path}: is no CSV of supernet_ranking.py ({error})") from None
    if not scores:
        raise DataError(f"--supernet {path}: has no column {SCORE}0; supernet_ranking.py writes it")
    strange = next((placement for placement in placements if Design(placement) not in bench.truth.curves), None)
    if strange is not None:
        raise DataError(f"--supernet {path}: {strange.label}: is no placement of the experiment's space")
    training = SupernetTraining(bench.experiment, bench.space, Path())
    dataset, recipe = open_dataset(bench.experiment), bench.experiment.train
    train, validation = (len(dataset.split(name)) for name in ("train", "validation"))
    calibration = bench.experiment.search.supernet.calibration * recipe.batch_size
    scoring = len(rows) * (calibration + validation) / (3 * train + validation)
    spent = math.ceil(training.recipe.epochs + scoring)
    searches = []
    for outcomes in scores:
        ranked = rank(dict(zip(placements, outcomes, strict=True)), bench.experiment.search.goals)
        points = follow(bench.truth, map(Design, ranked), spent)
        searches.append([point for point in points if point.spent <= bench.horizon * bench.truth.exhausting])
    return searches


def read_runs(path: Path, about: dict[str, Any]) -> dict[tuple[str, int], list[Point]]:
    """Searches that were kept, if they are of the same.

    Raises:
        OptionError: if they are of something else, or the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        header, *lines = map(json.loads, lzma.decompress(path.read_bytes()).splitlines())
        runs = {(line["method"], line["seed"]): [Point(*point) for point in line["points"]] for line in lines}
    except (lzma.LZMAError, ValueError, KeyError, TypeError):
        raise OptionError(f"{path}: is damaged; remove it to begin anew") from None
    for key, value in about.items():
        if header.get(key) != value:
            raise OptionError(
                f"{path}: is of {key} {header.get(key)}, not {value}; remove it, or give another --output"
            )
    return runs


def write_runs(path: Path, about: dict[str, Any], runs: dict[tuple[str, int], list[Point]]) -> None:
    """Keep searches."""
    lines = [about, *({"method": name, "seed": seed, "points": runs[name, seed]} for name, seed in sorted(runs))]
    write_whole(path, lzma.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))


if __name__ == "__main__":
    main()
