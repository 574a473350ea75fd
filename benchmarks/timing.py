"""Ratios of what runs side by side: the best of several rounds, in which all take turns."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def best_seconds(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest time of each, in seconds; a first round, which compiles and fills caches, does not count.

    A run that gives a float says so how long it took.
    """
    best = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            found = run()
            taken = found if isinstance(found, float) else time.perf_counter() - start
            if number:
                best[name] = min(best[name], taken)
    return best


class Apart:
    """Runs in a process of their own, as peers come: what ours does to its process, as keeping memory, is not in it.

    Args:
        build: called there, with ``arguments``; gives runs by name. A function of a module, so that it can be sent.
        arguments: for it.
    """

    def __init__(self, build: Callable[..., Mapping[str, Callable[[], object]]], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.requests, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
        self.process.start()

    def run(self, name: str) -> Callable[[], float]:
        """The run of a name, which says itself how long it took."""

        def ask() -> float:
            self.requests.send(name)
            return self.requests.recv()

        return ask


def _serve(requests, build, arguments):
    runs = build(*arguments)
    while True:
        try:
            run = runs[requests.recv()]
        except EOFError:
            return
        start = time.perf_counter()
        run()
        requests.send(time.perf_counter() - start)


def recordings(name: str) -> Path:
    """A folder of real recordings, in QUIETSPIKE_TEST_DATA or beside the project."""
    root = Path(os.environ.get("QUIETSPIKE_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not (root / name).exists():
        raise SystemExit(f"no {name} in {root}; QUIETSPIKE_TEST_DATA names the folder of recordings")
    return root / name


def print_times(seconds: Mapping[str, float]) -> None:
    """Milliseconds, and how often the first one's time fits into each."""
    first = next(iter(seconds.values()))
    print(f"{'':32} {'ms':>8} {'times the first':>16}")
    for name, taken in seconds.items():
        print(f"{name:32} {1e3 * taken:8.1f} {taken / first:16.2f}")
