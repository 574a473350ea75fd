"""``quietspike data``: which data sets there are, what is in them, and what the cache holds."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from quietspike.core import DATASETS, OptionError
from quietspike.core.contracts import EventDataset, SplitName
from quietspike.core.errors import unknown_name
from quietspike.core.networks import build_plugin
from quietspike.datasets.cache import FORMAT, Entry, cache_folder, clear_entries, list_entries
from quietspike.datasets.framed import Sample
from quietspike.datasets.loading import Labels

_OPTIONS = "Options of the data set: --root FOLDER, --steps 16, --augment.flip 0.5."


def run(arguments: Sequence[str], console: Console) -> int:
    """Run ``quietspike data``.

    Args:
        arguments: behind ``data``.
        console: to print on.

    Raises:
        QuietspikeError: for what its user can mend.
    """
    parser, commands = _parser()
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command is not None and command not in commands:
        raise unknown_name("data: command", command, commands)
    options, rest = parser.parse_known_args(arguments)
    options.run(options, parse_options(rest), console)
    return 0


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Options of a data set from ``--key value`` or ``--key=value``; values are JSON, or else text.

    >>> parse_options(["--steps", "4", "--augment.flip=0.5", "--root", "here"])
    {'steps': 4, 'augment': {'flip': 0.5}, 'root': 'here'}

    Raises:
        OptionError: for a word that is no option, or one without a value.
    """
    options: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        key, equals, value = word.partition("=")
        if not key.startswith("--") or not key.strip("-"):
            raise OptionError(f"data: unexpected {word!r}")
        if not equals:
            if not left or left[0].startswith("--"):
                raise OptionError(f"data: {key}: give a value")
            value = left.pop(0)
        *outer, last = key.removeprefix("--").split(".")
        place = options
        for name in outer:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise OptionError(f"data: {key}: --{name} has a value of its own")
        place[last] = _value(value)
    return options


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Raise what the command line prints."""
        raise OptionError(f"{self.prog.removeprefix('quietspike ')}: {message}")


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    parser = _Parser(prog="quietspike data", allow_abbrev=False, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[..., None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    add("list", _list, "Show all data sets that are installed")
    info = add("info", _info, f"Show what a data set holds. {_OPTIONS}")
    info.add_argument("name", help="of the data set")
    add("cache", _cache, "Show what the cache holds")
    clear = add("clear", _clear, "Remove what the cache holds of some data sets, or all of it")
    clear.add_argument("names", nargs="*", help="of data sets; all without")
    show = add("show", _show, f"Draw a sample: its frames in a strip, and its events over time. {_OPTIONS}")
    show.add_argument("name", help="of the data set")
    show.add_argument("--split", default="train", help="train, validation or test")
    show.add_argument("--index", type=int, default=0, help="of the sample in its split")
    show.add_argument("--clip", type=int, default=0, help="of the sample, where it has several")
    show.add_argument("--output", type=Path, help="picture to write (.png, .svg, .pdf); NAME-SPLIT-INDEX.png without")
    return parser, list(commands.choices)


def _list(options: argparse.Namespace, chosen: dict[str, Any], console: Console) -> None:
    _refuse(chosen)
    table = Table()
    for column in ("data set", "classes", "sensor", "comes from", "plugin of"):
        table.add_column(column)
    for name in DATASETS.names():
        plugin = DATASETS.get(name)
        classes, size = getattr(plugin, "classes", ()), getattr(plugin, "sensor_size", None)
        shown = f"{size[0]}x{size[1]}" if size else "as recorded"
        origin = getattr(plugin, "origin", "")
        table.add_row(name, str(len(classes) or "as recorded"), shown, origin, DATASETS.owner(name))
    console.print(table)


def _info(options: argparse.Namespace, chosen: dict[str, Any], console: Console) -> None:
    dataset = _open(options.name, chosen)
    table = Table(title=options.name, show_header=False)
    names = ", ".join(dataset.classes[:12]) + (", ..." if len(dataset.classes) > 12 else "")
    table.add_row("classes", f"{len(dataset.classes)}: {names}")
    sizes: dict[str, int] = getattr(dataset, "sizes", dict)()
    for option, value in asdict(dataset.options).items() if hasattr(dataset, "options") else ():
        if value not in (None, {}) and option not in sizes:  # which makes it idle
            table.add_row(option, str(value))
    for part, size in sizes.items():
        table.add_row(f"recordings, {part}", f"{size:,}")
    channels, height, width = dataset.input_shape
    table.add_row("a sample", f"T = {dataset.steps}, {channels}x{height}x{width}")
    for name in get_args(SplitName):
        labels = _labels(dataset, name)
        counts = np.bincount(labels, minlength=len(dataset.classes))
        spread = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
        table.add_row(name, f"{len(labels):,} samples, {spread} a class")
    table.add_row("cite", getattr(dataset, "citation", "") or getattr(DATASETS.get(options.name), "citation", ""))
    console.print(table)


def _cache(options: argparse.Namespace, chosen: dict[str, Any], console: Console) -> None:
    _refuse(chosen)
    _print_entries(list_entries(), console)


def _clear(options: argparse.Namespace, chosen: dict[str, Any], console: Console) -> None:
    _refuse(chosen)
    there = {_name(entry) for entry in list_entries()}
    for name in options.names:
        if name not in there:
            raise unknown_name("data: clear: in the cache", name, there)
    cleared = clear_entries(set(options.names) or None)
    freed = sum(entry.bytes for entry in cleared)
    console.print(f"{len(cleared)} entries removed, {_megabytes(freed)} freed", highlight=False)


def _show(options: argparse.Namespace, chosen: dict[str, Any], console: Console) -> None:
    from quietspike.datasets.preview import draw_sample, save_figure

    if options.split not in get_args(SplitName):
        raise unknown_name("data: --split", options.split, get_args(SplitName))
    dataset = _open(options.name, chosen)
    path = options.output or Path(f"{options.name}-{options.split}-{options.index}.png")
    if not path.suffix:
        raise OptionError(f"data: --output {path}: must end in .png, .svg or .pdf")
    sample = _sample(dataset, options.split, options.index, options.clip)
    clip = f", clip {options.clip}" if options.clip else ""
    title = f"{options.name}, {options.split} {options.index}{clip}: {dataset.classes[sample.label]}"
    try:
        save_figure(draw_sample(sample, title), path)
    except ValueError as error:
        raise OptionError(f"data: --output {path}: {error}") from error
    console.print(f"{title}; drawn into {path}", highlight=False, markup=False)


def _labels(dataset: EventDataset, name: SplitName) -> Labels:
    """Of a split; of our own sets without a recording being read."""
    labels = getattr(dataset, "labels", None)
    if labels is not None:
        return np.asarray(labels(name))
    split = dataset.split(name)
    return np.array([split[index][1] for index in range(len(split))], dtype=np.int64)


def _sample(dataset: EventDataset, name: SplitName, index: int, clip: int) -> Sample:
    """Of a split; of recordings without another being read."""
    make = getattr(dataset, "sample", None)
    if make is not None:
        made: Sample = make(name, index, clip)
        return made
    split = dataset.split(name)
    if not 0 <= index < len(split):
        raise OptionError(f"index={index}: {name} has 0 to {len(split) - 1}")
    frames, label = split[index]
    return Sample(np.asarray(frames), label, None, None)


def _open(name: str, chosen: dict[str, Any]) -> EventDataset:
    if "name" in chosen:
        raise OptionError(f"data: unexpected --name; the data set is {name}")
    return build_plugin(DATASETS, {**chosen, "name": name})


def _print_entries(entries: list[Entry], console: Console) -> None:
    table = Table(title=str(cache_folder()))
    for column in ("data set", "samples", "rows", "size", "written"):
        table.add_column(column)
    for entry in entries:
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified))
        table.add_row(_name(entry), *_facts(entry), _megabytes(entry.bytes), written)
    table.caption = f"{len(entries)} entries, {_megabytes(sum(entry.bytes for entry in entries))}"
    console.print(table)


def _name(entry: Entry) -> str:
    return entry.folder.name.rpartition("-")[0]


def _facts(entry: Entry) -> tuple[str, str]:
    """How many samples, and what a row is."""
    key = entry.key
    if key.get("format") != FORMAT or "samples" not in key:
        return "?", "damaged, or of another version"
    if "frames" not in key:
        return f"{key['samples']:,}", f"events{_of_root(key)}"
    framing = key["frames"]
    windows = f" of {framing['window_us']} µs" if framing["window_us"] else f" by {framing['by']}"
    clips = f", {key['clips']} clips" if key["clips"] > 1 else ""
    scale = f", 1/{framing['downscale']}" if framing["downscale"] > 1 else ""
    binary = ", binary" if framing["binary"] else ""
    return f"{key['samples']:,}", f"{framing['steps']} frames{windows}{clips}{scale}{binary}{_of_root(key)}"


def _of_root(key: Mapping[str, Any]) -> str:
    return f", of {key['root']}" if key.get("root") else ""


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"


def _refuse(chosen: dict[str, Any]) -> None:
    if chosen:
        raise OptionError(f"data: unexpected --{next(iter(chosen))}")
