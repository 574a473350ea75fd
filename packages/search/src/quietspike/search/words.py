"""The words of a command line: those of the command, and those that override the experiment."""

from __future__ import annotations

from collections.abc import Sequence

from quietspike.core.errors import unknown_name
from quietspike.search.config import Experiment

OWN_FLAGS = ("--help", "--version", "--placement", "--split", "--port", "--row")
"""What argparse knows; all other options are keys of the experiment."""

CLAIMED = {"analyse": ("--output", "--layer", "--step")}
"""Options of a command that would be keys of the experiment elsewhere."""


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
        if not word.startswith("--") or name in OWN_FLAGS:
            plain.append(word)
            continue
        if not plain and name.removeprefix("--").partition(".")[0] not in Experiment.model_fields:
            raise unknown_name("option", name, [*OWN_FLAGS, *(f"--{key}" for key in Experiment.model_fields)])
        overrides.append(word)
        if "=" not in word and left and not left[0].startswith("--"):
            overrides.append(left.pop(0))
    return plain, overrides


def claim(overrides: Sequence[str], command: str | None) -> tuple[list[str], list[str]]:
    """The command's own among the options, with their values, and the experiment's.

    >>> claim(["--output", "figures", "--device=cpu"], "analyse")
    (['--output', 'figures'], ['--device=cpu'])
    """
    flags = CLAIMED.get(command or "", ())
    own: list[str] = []
    rest: list[str] = []
    taken = rest
    for word in overrides:
        if word.startswith("--"):
            taken = own if word.partition("=")[0] in flags else rest
        taken.append(word)
    return own, rest
