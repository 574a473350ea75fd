"""The command line: each command is one call in Python."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn, get_args

from rich.console import Console
from rich.table import Table

from quietspike.core import ATTENTION, BACKBONES, COMMANDS, DATASETS, ENGINES, NEURONS, OptionError, QuietspikeError
from quietspike.core.contracts import SplitName
from quietspike.core.errors import unknown_name
from quietspike.search.config import Experiment, load_experiment
from quietspike.search.describing import describe_keys
from quietspike.search.words import claim, part_overrides

ELSEWHERE = {"data": COMMANDS.install}
"""Commands that another package brings."""

STOPPED = "Stopped; all that had ended is kept, and the same command goes on from there"
USER_MISTAKE = 2
INTERRUPTED = 130
TERMINATED = 143
KEYS = "keys and their defaults, of which the embedded default sets some:"
EXPERIMENT = "YAML file, or the folder of a search; the embedded default without it"
PLAIN_WIDTH = 160
"""Columns of a table that is written to a file or pipe."""

OVERRIDES = "Any key of the experiment can be set: --train.epochs 5, --search.sampler tpe, --dataset.root PATH."


class _TerminatedError(Exception):
    """SIGTERM came, and all has ended that it had to end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; says in one line what a user can mend, and then returns 2."""
    piped = not sys.stdout.isatty()
    console = Console(markup=False, emoji=False, soft_wrap=piped, width=PLAIN_WIDTH if piped else None)
    try:
        with _terminable():
            return _run(sys.argv[1:] if arguments is None else arguments, console)
    except QuietspikeError as error:
        return _complain(f"quietspike: {error}", USER_MISTAKE)
    except OSError as error:
        return _complain(f"quietspike: {_explain(error)}", USER_MISTAKE)
    except KeyboardInterrupt:
        return _complain(STOPPED, INTERRUPTED)
    except _TerminatedError:
        return _complain(STOPPED, TERMINATED)


def _run(arguments: Sequence[str], console: Console) -> int:
    parser, commands = _parser()
    if arguments and arguments[0] not in commands and arguments[0] in COMMANDS.names():
        return COMMANDS.get(arguments[0])(arguments[1:], console)
    words, overrides = part_overrides(arguments)
    command = next((word for word in words if not word.startswith("-")), None)
    if command in ELSEWHERE:
        raise OptionError(f"command: no {command!r}: pip install {ELSEWHERE[command]}")
    if command is not None and command not in commands:
        raise unknown_name("command", command, [*commands, *COMMANDS.names()])
    claimed, overrides = claim(overrides, command)
    options = parser.parse_args([*words, *claimed])
    result: int = options.run(options, overrides, console)
    return result


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM stops what runs meanwhile as Ctrl-C does.

    Raises:
        _TerminatedError: once it has stopped.
    """
    if threading.current_thread() is not threading.main_thread():  # signals come to no other
        yield
        return
    came = False

    def stop(number: int, frame: object) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        if not came:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if came:
        raise _TerminatedError


def _complain(text: str, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False, emoji=False)
    return code


def _explain(error: OSError) -> str:
    """Path and reason; of two paths the one that was to be written, not the temporary one that was to become it."""
    path = error.filename2 or error.filename
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return reason if path is None else f"{path}: {reason}"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Raise what ``main`` prints."""
        command = self.prog.removeprefix("quietspike").lstrip()
        raise OptionError(f"{command}: {message}" if command else message)


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the names of its commands."""
    others = "".join(f"    {name:10}quietspike {name} --help ({COMMANDS.owner(name)})\n" for name in COMMANDS.names())
    parser = _Parser(
        prog="quietspike",
        allow_abbrev=False,
        description="Finds where attention belongs in an SNN.",
        epilog=others and f"commands of other packages:\n{others}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"quietspike-search {version('quietspike-search')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, run: object, text: str, *, experiment: bool = True, takes: str = EXPERIMENT
    ) -> argparse.ArgumentParser:
        keys = f"{KEYS}\n{describe_keys()}" if experiment else None
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text}. {OVERRIDES}" if experiment else text,
            epilog=keys,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=run)
        if experiment:
            command.add_argument("experiment", nargs="?", type=Path, help=takes)
        return command

    add("search", _search, "Search where attention belongs, and confirm it on the test split")
    train = add("train", _train, "Train one placement and measure it on the test split")
    train.add_argument("--placement", default="none", help="YAML file, or an attention's name for it everywhere")
    shows = "Train the rows of a published table and show ours beside what was printed"
    table = add("reproduce", _reproduce, shows, takes="YAML file of a table, as experiments/ma-table6.yaml")
    table.add_argument("--row", action="append", default=[], metavar="NAME", help="train this one; may be repeated")
    bench = add("tabulate", _tabulate, "Train every placement of the space into the table search.table")
    bench.add_argument("--seeds", type=int, default=3, help="trainings of the front and of what is drawn")
    bench.add_argument("--drawn", type=int, default=50, help="placements at random that have as many seeds")
    evaluate = add("evaluate", _evaluate, "Measure trained weights and print their cost by layer", experiment=False)
    evaluate.add_argument("weights", type=Path, help="a weights.safetensors of a search or a training")
    evaluate.add_argument("--split", default="test", help="train, validation or test")
    evaluate.add_argument("--base", type=Path, help="weights of the same network without attention, for rEE")
    events = "measure once more with the synapses of active inputs alone, and compare (CPU)"
    evaluate.add_argument("--event-driven", action="store_true", help=events)
    analyse = add("analyse", _analyse, "Draw the papers' figures of trained weights", experiment=False)
    analyse.add_argument("weights", type=Path, help="a weights.safetensors of a search or a training")
    analyse.add_argument("--split", default="test", help="train, validation or test")
    analyse.add_argument("--output", type=Path, help="folder of the figures and tables; analysis beside the weights")
    analyse.add_argument("--layer", help="whose neurons are shown one by one, as in block1.neuron; the first")
    analyse.add_argument("--step", type=int, help="at which step, from 1; the first, the middle and the last")
    add("report", _report, "Print and write anew what a search has given so far, and send MLflow what was kept for it")
    add("sites", _sites, "Show the sites of the experiment's backbone and what may stand there")
    add("list", _list, "Show all plugins that are installed", experiment=False)
    ui = add("ui", _ui, "Open MLflow's page on the store of the runs")
    ui.add_argument("--port", type=int, default=5000, help="of the page, on this machine")
    return parser, list(commands.choices)


def _load(path: Path | None, overrides: Sequence[str]) -> Experiment:
    """The experiment of a file; of a search's folder, the one that it keeps, wherever the folder lies now."""
    if path is None or not path.is_dir():
        return load_experiment(path, overrides)
    here = ["--output", json.dumps(str(path.resolve().parent))]
    return load_experiment(path / "experiment.yaml", [*here, *overrides])


def _search(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.searching import run_search

    run_search(_load(options.experiment, overrides), console)
    return 0


def _train(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.single import read_design, train_design

    experiment = _load(options.experiment, overrides)
    train_design(experiment, read_design(options.placement, experiment), console)
    return 0


def _reproduce(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.reproducing import reproduce
    from quietspike.search.reproduction import load_reproduction

    if options.experiment is None:
        raise OptionError("reproduce: give a table, as experiments/ma-table6.yaml")
    reproduce(load_reproduction(options.experiment), console, options.row, overrides)
    return 0


def _tabulate(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.tabulating import tabulate

    tabulate(_load(options.experiment, overrides), console, options.seeds, options.drawn)
    return 0


def _evaluate(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.single import evaluate_weights

    _check_split(options.split)
    own = {"base": options.base, "events": options.event_driven}
    evaluate_weights(options.weights, overrides, options.split, console, **own)
    return 0


def _analyse(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.analysing import analyse_weights

    _check_split(options.split)
    own = {"folder": options.output, "layer": options.layer, "step": options.step}
    analyse_weights(options.weights, overrides, options.split, console, **own)
    return 0


def _check_split(name: str) -> None:
    if name not in get_args(SplitName):
        raise unknown_name("--split", name, get_args(SplitName))


def _report(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.report import print_report, write_report
    from quietspike.search.searching import read_search
    from quietspike.search.tracking import send_spooled

    experiment = _load(options.experiment, overrides)
    result = read_search(experiment)
    write_report(result)
    print_report(result, console)
    send_spooled(experiment, partial(console.print, highlight=False, markup=False))
    return 0


def _sites(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.sites import show_sites

    show_sites(_load(options.experiment, overrides), console)
    return 0


def _list(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    _refuse(overrides)
    table = Table()
    for column in ("kind", "name", "from"):
        table.add_column(column)
    for registry in (ATTENTION, BACKBONES, DATASETS, ENGINES, NEURONS):
        for name in registry.names():
            table.add_row(registry.kind, name, registry.owner(name))
        if not registry.names():
            table.add_row(registry.kind, "none", f"pip install {registry.install}")
        table.add_section()
    console.print(table)
    return 0


def _ui(options: argparse.Namespace, overrides: Sequence[str], console: Console) -> int:
    from quietspike.search.page import open_page

    return open_page(_load(options.experiment, overrides), options.port, console)


def _refuse(overrides: Sequence[str]) -> None:
    if overrides:
        raise OptionError(f"unexpected {overrides[0]!r}")
