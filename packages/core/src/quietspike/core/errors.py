"""What quietspike raises for a user's mistake: one line that names what is wrong, and the near match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class QuietspikeError(Exception):
    """A mistake that its user can mend; the command line prints it as one line and ends with exit code 2."""


class UnknownNameError(QuietspikeError, LookupError):
    """A name that nothing answers to: a plugin, a site, a key."""


class OptionError(QuietspikeError, ValueError):
    """An option that its plugin does not take, or a value out of its range."""


class PluginError(OptionError):
    """A plugin refused its options; names the plugin."""


class DataError(QuietspikeError, ValueError):
    """A recording, list or folder that cannot be read as what it should be."""


class CheckpointError(QuietspikeError, ValueError):
    """A weights or checkpoint file that is damaged or belongs to another network."""


def look_up(where: str, name: object, known: Mapping[str, T]) -> T:
    """What has a name.

    Raises:
        UnknownNameError: if nothing has it, or it is no text; says what comes close.
    """
    if isinstance(name, str) and name in known:
        return known[name]
    raise unknown_name(where, name, known)


def unknown_name(where: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among the known ones, with the nearest of them.

    >>> str(unknown_name("attention", "tcas", ["tca", "tcsa"]))
    "attention: no 'tcas'; did you mean 'tcsa'?"
    >>> str(unknown_name("dataset", "mine", ["nmnist"]))
    "dataset: no 'mine'; there are: nmnist"
    >>> str(unknown_name("key", "train.lr", ["train.loss", "train.learning_rate"]))
    "key: no 'train.lr'; did you mean 'train.learning_rate'?"
    """
    known = sorted(known)
    near = None
    if isinstance(name, str):
        head = name[: name.rfind(".") + 1]  # of a dotted key: what is meant stands beside it, if anything does
        beside = [key for key in known if key[: key.rfind(".") + 1] == head]
        head, known = (head, beside) if beside else ("", known)
        ends = {key.removeprefix(head): key for key in known}
        near = ends.get(_closest(name.removeprefix(head), list(ends)))
    hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
    return UnknownNameError(f"{where}: no {name!r}; {hint}")


def _closest(name: str, known: list[str]) -> str:
    """The nearest, or nothing; before it letters that changed places, of which difflib would drop one, and initials."""
    for other in known:
        if sorted(other) == sorted(name) or "".join(word[:1] for word in other.split("_")) == name:
            return other
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), "")
