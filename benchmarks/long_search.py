"""A search of 2,000 trials by replay, through the whole path: engine, journal, MLflow, report; does a trial stay cheap?

    python benchmarks/long_search.py [--trials 2000] [--samplers nsga2 random]

The table is the placement benchmark's (`experiments/placement-bench`), over four further sites, where what stands does
not change what is looked up: 8,192 placements. A line for each part of the search shows the driver's CPU time a trial,
its memory, and how many runs MLflow's store has by then.
"""

import argparse
import dataclasses
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from quietspike.core import Placement
from quietspike.search.config import load_experiment
from quietspike.search.space import open_space
from quietspike.search.tabulation import read_table, table_settings, write_table

ROOT = Path(__file__).parents[1]
YAML = ROOT / "experiments/placement-bench/digits.yaml"
WIDE = ["--search.sites", "['*.current']", "--backbone.hidden", "[32, 32, 32]"]
PARTS = 8
TRIAL = re.compile(r"trial (\d+)/\d+: ")


def wider_table(path):
    """Each training of the table, with each choice at the two sites behind it."""
    narrow = load_experiment(YAML)
    wide = load_experiment(YAML, WIDE)
    table, space = read_table(ROOT / narrow.search.table), open_space(wide)
    entries = {}
    for design in space.shuffled(0, int(space.size)):
        known = {site: choice for site, choice in design.placement.items() if site.startswith("block")}
        entry = table.entries[Placement(known), table.seed]
        entries[design.placement, table.seed] = entry._replace(placement=design.placement)
    choices = {site: tuple(choice.label for choice in own) for site, own in space.choices.items()}
    write_table(path, dataclasses.replace(table, settings=table_settings(wide), choices=choices, entries=entries))


def measure(sampler, trials, folder):
    """Run a search, and print a line whenever a further part of its trials has ended."""
    command = [Path(sys.executable).parent / "quietspike", "search", YAML, "--search.engine", "tabular"]
    command += [*WIDE, "--search.table", folder / "wide.jsonl.xz", "--search.trials", str(trials)]
    command += ["--search.sampler", sampler, "--output", folder / sampler, "--confirm.seeds", "0"]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, cwd=ROOT) as search:
        process, before, due = psutil.Process(search.pid), None, 1
        for line in search.stdout:
            found = TRIAL.search(line)
            if not found or int(found[1]) < due * trials // PARTS:
                continue
            cpu = sum(process.cpu_times()[:2])
            here = (int(found[1]), cpu, time.monotonic())
            if before is not None:
                done = here[0] - before[0]
                each = [1000 * (now - then) / done for now, then in zip(here[1:], before[1:], strict=True)]
                memory = process.memory_info().rss / 2**20
                print(
                    f"| {sampler} | {before[0]:,} to {here[0]:,} | {each[0]:.0f} | {each[1]:.0f} | {memory:.0f} "
                    f"| {logged(folder / sampler)} |",
                    flush=True,
                )
            before, due = here, due + 1
        end = time.monotonic()
    if search.returncode:
        sys.exit(f"the search ended with {search.returncode}")
    last = time.monotonic() - end
    begun = time.monotonic()
    command[1] = "report"
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    report = time.monotonic() - begun
    runs = logged(folder / sampler)
    print(f"{sampler}: the end took {last:.1f} s, a report {report:.1f} s; MLflow has {runs} runs")


def logged(folder):
    """Runs in MLflow's store."""
    with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as store:
        return store.execute("select count(*) from runs where status in ('FINISHED', 'KILLED')").fetchone()[0]


def main():
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--samplers", nargs="+", default=["nsga2", "random"])
    options = parser.parse_args()
    print("| sampler | trials | driver's CPU ms a trial | ms a trial | driver's memory, MiB | runs in MLflow |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wider_table(Path(folder) / "wide.jsonl.xz")
        for sampler in options.samplers:
            measure(sampler, options.trials, Path(folder))


if __name__ == "__main__":
    main()
