"""The table of a benchmark: what many placements gave, epoch by epoch, with the configuration behind it.

The file is JSON lines behind xz. Its first line is the configuration and what made it, each other line one training:
placement, seed and outcome (the test split's; its ``curve`` is the validation split's). The lines come by seed and
placement, so that the order in which trainings ended does not show.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from quietspike.core import CheckpointError, OptionError, Placement
from quietspike.core.errors import unknown_name
from quietspike.core.weights import write_whole
from quietspike.search.config import Experiment
from quietspike.search.results import Outcome
from quietspike.search.shaping import PLUGINS
from quietspike.search.space import Space
from quietspike.search.tracking import flatten

FORMAT = "quietspike-table-1"


class Entry(NamedTuple):
    """One training.

    Args:
        placement: which attention where.
        seed: of the training.
        outcome: what it gave.
        maker: which of the table's ``makers`` trained it.
    """

    placement: Placement
    seed: int
    outcome: Outcome
    maker: int = 0

    @property
    def epochs(self) -> int:
        """How many were trained; 0 where it failed."""
        return len(self.outcome.curve.get("accuracy", ()))

    @property
    def final(self) -> Outcome:
        """What a trial of a search would have given: the validation split's figures after the last epoch."""
        return self.outcome if self.outcome.reason is not None else self.after(self.epochs)

    def after(self, epoch: int) -> Outcome:
        """The validation split's figures after an epoch, from 1, and the curve up to there."""
        then = self.metrics(epoch)
        totals = {name: then.get(name, total) for name, total in self.outcome.totals.items()}
        rates = {name.removeprefix(RATE): value for name, value in then.items() if name.startswith(RATE)}
        curve = {name: list(values[:epoch]) for name, values in self.outcome.curve.items()}
        return Outcome(then["accuracy"], totals, rates, sum(curve["seconds"]), curve=curve)

    def metrics(self, epoch: int) -> dict[str, float]:
        """What MLflow is given of an epoch."""
        return {name: values[epoch - 1] for name, values in self.outcome.curve.items()}


RATE = "firing_rate/"
"""What MLflow's name of a layer's firing rate begins with."""


@dataclass(frozen=True)
class Table:
    """Trainings of one configuration.

    Args:
        settings: the configuration, which an experiment may be made from.
        choices: labels of the candidates of each site.
        makers: versions and commits that trained, in the order in which they did.
        entries: by placement and seed.
    """

    settings: Mapping[str, Any]
    choices: Mapping[str, tuple[str, ...]]
    makers: tuple[Mapping[str, str], ...]
    entries: Mapping[tuple[Placement, int], Entry]

    @classmethod
    def empty(cls, experiment: Experiment, space: Space) -> Table:
        """One that holds nothing yet."""
        return cls(table_settings(experiment), _labels(space), (), {})

    @property
    def seed(self) -> int:
        """Of the first training of each placement."""
        return int(self.settings["seed"])

    @cached_property
    def seeds(self) -> list[int]:
        """All that there are, rising."""
        return sorted({seed for _, seed in self.entries})

    def of(self, placement: Placement) -> dict[int, Entry]:
        """The trainings of a placement by seed, rising."""
        return {seed: self.entries[placement, seed] for seed in self.seeds if (placement, seed) in self.entries}

    def with_entries(self, entries: Iterable[Entry], maker: Mapping[str, str]) -> Table:
        """The table with more in it, which ``maker`` trained."""
        known = dict(maker)
        makers = self.makers if known in self.makers else (*self.makers, known)
        number = makers.index(known)
        added = {(entry.placement, entry.seed): entry._replace(maker=number) for entry in entries}
        return Table(self.settings, self.choices, makers, {**self.entries, **added})

    def check_whole(self, experiment: Experiment, space: Space, path: Path) -> None:
        """Refuse an experiment that trains anything else than the table holds.

        Raises:
            OptionError: names the first key that differs.
        """
        _refuse_settings(experiment)
        _compare(path, self.settings, table_settings(experiment))
        _compare(path, {"choices": self.choices}, {"choices": _labels(space)})

    def check_part(self, experiment: Experiment, space: Space, path: Path) -> None:
        """Refuse an experiment that asks for what the table does not hold; sampler, seed and threads are its own.

        Raises:
            QuietspikeError: names the first key that differs.
        """
        _refuse_settings(experiment)
        own = {"seed": self.seed, "search": self.settings["search"]}
        _compare(path, self.settings, {**table_settings(experiment), **own})
        for site, labels in _labels(space).items():
            held = self.choices.get(site, ("none",))
            for label in labels:
                if label not in held:
                    raise unknown_name(f"{path}: choices.{site}", label, held)
        known = {"accuracy", *(name for entry in self.entries.values() for name in entry.outcome.totals)}
        for figure in sorted(experiment.search.asked - known):
            raise unknown_name(f"{path}: figures", figure, known)


def table_settings(experiment: Experiment) -> dict[str, Any]:
    """All that an experiment's trainings depend on, wherever its data lie."""
    data = experiment.shaping
    dataset = {key: value for key, value in data["dataset"].items() if key != "root"}
    settings = {key: data[key] for key in ("seed", *PLUGINS, "train")}
    search = {"threads": experiment.search.threads}
    plain: dict[str, Any] = json.loads(json.dumps({**settings, "dataset": dataset, "search": search}))
    return plain


def read_table(path: Path) -> Table:
    """A table from its file.

    Raises:
        OptionError: if there is none.
        CheckpointError: if it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        header, *lines = map(json.loads, lzma.decompress(content).splitlines())
        if header["format"] != FORMAT:
            raise CheckpointError(f"{path}: is of format {header['format']!r}, not {FORMAT!r}")
        choices = {site: tuple(labels) for site, labels in header["choices"].items()}
        entries = [Entry(Placement(e["placement"]), e["seed"], Outcome.of(e["outcome"]), e["maker"]) for e in lines]
        by_key = {(entry.placement, entry.seed): entry for entry in entries}
        return Table(header["settings"], choices, tuple(header["makers"]), by_key)
    except (lzma.LZMAError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not a table, or damaged ({type(error).__name__}: {error})") from None


def write_table(path: Path, table: Table) -> None:
    """Write a table, whole or not at all; equal tables become equal bytes."""
    header = {"format": FORMAT, "settings": table.settings, "choices": table.choices, "makers": table.makers}
    lines: list[dict[str, Any]] = [header]
    for entry in sorted(table.entries.values(), key=lambda entry: (entry.seed, entry.placement.json)):
        own = {"placement": entry.placement.data, "seed": entry.seed, "maker": entry.maker}
        lines.append({**own, "outcome": entry.outcome.data})
    text = "".join(f"{json.dumps(line, sort_keys=True, separators=(',', ':'), allow_nan=False)}\n" for line in lines)
    write_whole(path, lzma.compress(text.encode(), preset=6))


def _labels(space: Space) -> dict[str, tuple[str, ...]]:
    return {site: tuple(choice.label for choice in choices) for site, choices in space.choices.items()}


def _refuse_settings(experiment: Experiment) -> None:
    for key in experiment.search.settings:
        raise OptionError(f"search.settings: {key}: a table holds placements alone")


def _compare(path: Path, held: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """One line for the first key that is not the same."""
    theirs, ours = flatten(held), flatten(asked)
    for key in dict.fromkeys([*ours, *theirs]):
        if theirs.get(key) != ours.get(key):
            raise OptionError(f"{path}: is a table of {key} {_text(theirs.get(key))}, not {_text(ours.get(key))}")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return "unset" if value is None else json.dumps(value)
