"""The words of a command line: those of the command, and those that override the experiment."""

from __future__ import annotations

from collections.abc import Sequence

from quietspike.core.errors import unknown_name
from quietspike.search.config import Experiment

ANYWHERE = ("--help", "--version")

OWN_FLAGS = {
    "train": ("--placement",),
    "reproduce": ("--row",),
    "tabulate": ("--seeds", "--drawn"),
    "evaluate": ("--split", "--base", "--event-driven"),
    "analyse": ("--split", "--output", "--layer", "--step"),
    "ui": ("--port",),
}
"""What argparse knows of each command; all other options are keys of the experiment."""

KEYS = tuple(f"--{key}" for key in Experiment.model_fields)
NO_KEYS = {*ANYWHERE, *(flag for flags in OWN_FLAGS.values() for flag in flags)} - {*KEYS}


def part_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words for argparse, and ``--key value`` pairs for the experiment: argparse cannot know a plugin's options.

    Raises:
        UnknownNameError: for an option before the command that is none: what follows it might be the command.
    """
    plain: list[str] = []
    overrides: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name = word.partition("=")[0]
        if not word.startswith("--") or name in NO_KEYS:
            plain.append(word)
            continue
        if not plain and name.partition(".")[0] not in KEYS:
            raise unknown_name("option", name, [*NO_KEYS, *KEYS])
        overrides.append(word)
        if "=" not in word and left and not left[0].startswith("--"):
            overrides.append(left.pop(0))
    return plain, overrides


def claim(overrides: Sequence[str], command: str | None) -> tuple[list[str], list[str]]:
    """The command's own among the options, with their values, and the experiment's.

    >>> claim(["--output", "figures", "--device=cpu"], "analyse")
    (['--output', 'figures'], ['--device=cpu'])

    Raises:
        UnknownNameError: for an option that is neither; keys with a point are the experiment's to refuse.
    """
    flags = OWN_FLAGS.get(command or "", ())
    own: list[str] = []
    rest: list[str] = []
    taken = rest
    for word in overrides:
        if word.startswith("--"):
            name = word.partition("=")[0]
            if "." not in name and name not in (*flags, *KEYS):
                raise unknown_name("option", name, [*flags, *KEYS])
            taken = own if name in flags else rest
        taken.append(word)
    return own, rest
