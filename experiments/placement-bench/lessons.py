"""What the table of every placement teaches: which site wants which dimension, the noise, and what a rung foretells.

    python experiments/placement-bench/lessons.py [--experiment FILE] [--output FOLDER] [--key value ...]

The eight candidates are the subsets of time, channels and space, so that all placements are a full factorial design of
these three at each site: effects are differences of means, and their shares of the variance add up. Writes and prints
``lessons.md``; figures are the validation split's, means over seeds where there are several.
"""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, t

from quietspike.core import OptionError, QuietspikeError
from quietspike.core.weights import write_whole
from quietspike.search.agreement import agreement
from quietspike.search.aspects import dimensions_of
from quietspike.search.comparing import Bench
from quietspike.search.config import load_experiment
from quietspike.search.tabulation import read_table

HERE = Path(__file__).parent
DIMENSIONS = ("time", "channels", "space")


class Lessons:
    """Figures of one table.

    Args:
        bench: the experiment, its space and the means over seeds.
        table: every training.

    Raises:
        OptionError: if the space is no full factorial design, on which all rests that is said here, or of other costs.
    """

    def __init__(self, bench, table):
        self.bench, self.table = bench, table
        self.sites = list(bench.space.choices)
        self.names = [site.removesuffix(".current") for site in self.sites]
        self.designs = list(bench.truth.curves)
        self.labels = [[bench.space.labels(design)[site] for site in self.sites] for design in self.designs]
        ends = np.array([bench.truth.end(design) for design in self.designs])
        self.accuracy, self.spikes = 100 * ends[:, 0], np.log10(ends[:, 1])
        self.factors = {
            (name, site): np.array([1.0 if dimensions_of(own[site])[at] else -1.0 for own in self.labels])
            for at, name in enumerate(DIMENSIONS)
            for site in range(len(self.sites))
        }
        search = bench.experiment.search
        if search.objectives != ("accuracy", "spikes"):
            raise OptionError(f"search.objectives: lessons are of spikes, not of {', '.join(search.objectives[1:])}")
        rows = set(zip(*self.factors.values(), strict=True))
        if not len(rows) == len(self.designs) == 2 ** len(self.factors):
            wanted = "must be the eight subsets of time, channels and space, each once, at sites that take them all"
            raise OptionError(f"search.candidates: {', '.join(map(str, search.candidates))}: {wanted}")

    def effects(self):
        """Of each dimension at each site, over all else."""
        columns = np.stack(list(self.factors.values()), axis=1)
        fits = [dict(zip(self.factors, fit(columns, figure), strict=True)) for figure in (self.accuracy, self.spikes)]
        lines = table_head(["", *self.names])
        for name in DIMENSIONS:
            cells = []
            for site in range(len(self.sites)):
                (points, wide), (decades, off) = (effects[name, site] for effects in fits)
                low, high = 10 ** (decades - off), 10 ** (decades + off)
                cells.append(f"{points:+.1f} ± {wide:.1f} points, spikes × {10**decades:.2f} [{low:.2f}, {high:.2f}]")
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return lines

    def interactions(self):
        """What of the variance is single effects, pairs of them, and the rest; and the strongest pairs."""
        pairs = list(itertools.combinations(self.factors, 2))
        columns = {pair: self.factors[pair[0]] * self.factors[pair[1]] for pair in pairs}
        lines = table_head(["share of the variance", "accuracy", "log10 spikes"])
        singles, doubles = (
            [sum(share(column, figure) for column in found) for figure in (self.accuracy, self.spikes)]
            for found in (self.factors.values(), columns.values())
        )
        rest = [1 - one - two for one, two in zip(singles, doubles, strict=True)]
        rows = {
            f"{len(self.factors)} single effects": singles,
            f"their {len(pairs)} pairs": doubles,
            "the rest, noise among it": rest,
        }
        lines += [f"| {name} | {100 * left:.0f} % | {100 * right:.0f} % |" for name, (left, right) in rows.items()]
        strongest = sorted(pairs, key=lambda pair: -share(columns[pair], self.accuracy))[:3]
        said = [
            f"{self.called(one)} with {self.called(other)} "
            f"{2 * columns[one, other] @ self.accuracy / len(self.designs):+.1f} points"
            for one, other in strongest
        ]
        return [*lines, "", f"The strongest pairs, beyond the sum of their effects: {'; '.join(said)}."]

    def called(self, factor):
        """Name of a dimension at a site."""
        return f"{factor[0]} at {self.names[factor[1]]}"

    def noise(self):
        """Deviation over seeds beside that over placements; of the first front apart, which was chosen for its luck."""
        groups = {}
        for (placement, _), entry in self.table.entries.items():
            if entry.outcome.reason is not None:
                continue
            last = entry.metrics(entry.epochs)
            groups.setdefault(placement, []).append((100 * last["accuracy"], math.log10(last["spikes"])))
        several = {placement: np.array(found) for placement, found in groups.items() if len(found) > 1}
        first = np.array([found[0] for found in groups.values()])
        among = first.std(axis=0, ddof=1)
        front = first_front(groups) & several.keys()
        if not front:
            return ["No placement of the first front has several seeds."]
        heads = ["standard deviation", "placements", "accuracy, points: median", "pooled", "spikes: median", "pooled"]
        cells = f"{len(first)} | | {among[0]:.1f} | | × {10 ** among[1]:.2f}"
        lines = [*table_head(heads), f"| among placements, one seed each | {cells} |"]
        for name, chosen in (("drawn at random", several.keys() - front), ("first front", front)):
            if not chosen:
                continue
            own = np.array([several[placement].std(axis=0, ddof=1) for placement in chosen])
            middle, pooled = np.median(own, axis=0), np.sqrt((own**2).mean(axis=0))
            cells = (
                f"{len(own)} | {middle[0]:.1f} | {pooled[0]:.1f} | × {10 ** middle[1]:.2f} | × {10 ** pooled[1]:.2f}"
            )
            lines.append(f"| from seed to seed, {name} | {cells} |")
        luck = np.mean([several[placement][0] - several[placement][1:].mean(axis=0) for placement in front], axis=0)
        failed = sum(int((found[:, 0] < 50).sum()) for found in several.values())
        return [
            *lines,
            "",
            f"On the first front the first seed was {luck[0]:+.1f} points above those that came later. "
            f"{failed} of {sum(map(len, several.values()))} of these trainings end below 50 %.",
        ]

    def foretold(self):
        """What the order after few epochs, and that of the validation split, says."""
        truth = self.bench.truth
        lines = table_head(["after epoch", "τ of accuracy with the last epoch's", "τ of spikes"])
        for rung in range(1, truth.epochs):
            early = [truth.curves[design][rung - 1] for design in self.designs]
            pairs = (("accuracy", self.accuracy), (truth.objective, self.spikes))
            taus = [kendalltau([values[name] for values in early], figure).statistic for name, figure in pairs]
            lines.append(f"| {rung} | {taus[0]:.2f} | {taus[1]:.2f} |")
        firsts = [self.table.entries.get((design.placement, self.table.seed)) for design in self.designs]
        entries = [entry for entry in firsts if entry is not None and entry.outcome.reason is None]
        tau, quiet = (
            agreement([value(entry.final) for entry in entries], [value(entry.outcome) for entry in entries])
            for value in (lambda one: one.accuracy, lambda one: one.totals["spikes"])
        )
        return [*lines, "", f"Validation and test split of the same training: τ {tau} in accuracy, {quiet} in spikes."]

    def front(self):
        """The front, and how uniform placements stand to mixed ones."""
        uniform = set(self.bench.space.uniform.values())
        own = np.array([design.placement in uniform for design in self.designs])
        lines = table_head([" · ".join(self.names), "accuracy %", "spikes", "seeds"])
        best = -math.inf
        for index in np.lexsort((-self.accuracy, self.spikes)):
            if self.accuracy[index] > best:
                best = self.accuracy[index]
                seeds = len(self.table.of(self.designs[index].placement))
                name = f"{' · '.join(self.labels[index])}{' (uniform)' if own[index] else ''}"
                lines.append(f"| {name} | {best:.1f} | {10 ** self.spikes[index]:,.0f} | {seeds} |")
        beaten = [
            int(((self.accuracy[index] >= self.accuracy[own]) & (self.spikes[index] <= self.spikes[own])).sum())
            for index in np.flatnonzero(~own)
        ]
        if not beaten:  # of one site
            return lines
        return [
            *lines,
            "",
            f"{beaten.count(int(own.sum()))} of {len(beaten)} mixed placements are at least as good in both as every "
            f"one of the {own.sum()} uniform ones; the one that beats most beats {max(beaten)}.",
        ]


def first_front(groups):
    """The placements that no other dominates, by their first seeds."""
    firsts = {placement: found[0] for placement, found in groups.items()}
    return {
        placement
        for placement, (accuracy, spikes) in firsts.items()
        if not any(a >= accuracy and s <= spikes and (a, s) != (accuracy, spikes) for a, s in firsts.values())
    }


def table_head(names):
    """Of a Markdown table."""
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


def fit(columns, figure):
    """Differences of the means with and without, each with half its 95 % interval, from orthogonal columns of ±1."""
    slopes = columns.T @ figure / len(figure)
    rest = figure - figure.mean() - columns @ slopes
    freedom = len(figure) - columns.shape[1] - 1
    wide = t.ppf(0.975, freedom) * math.sqrt(rest @ rest / freedom / len(figure))
    return [(2 * slope, 2 * wide) for slope in slopes]


def share(column, figure):
    """Of the variance, that a column of ±1 explains."""
    return float((column @ figure / len(figure)) ** 2 / figure.var())


def main() -> None:
    """Write and print the lessons."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--experiment", type=Path, default=HERE / "digits.yaml")
    parser.add_argument("--output", type=Path, default=HERE, help="folder")
    options, overrides = parser.parse_known_args()
    try:
        experiment = load_experiment(options.experiment, overrides)
        lessons = Lessons(Bench.open(experiment), read_table(experiment.search.table))
    except QuietspikeError as error:
        parser.error(str(error))
    parts = {
        "Effect of each dimension at each site": lessons.effects(),
        "How far effects add up": lessons.interactions(),
        "Noise": lessons.noise(),
        "What an epoch foretells": lessons.foretold(),
        "The front": lessons.front(),
    }
    text = "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in parts.items()) + "\n"
    write_whole(options.output / "lessons.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
