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
    """
    known = sorted(known)
    close: list[str] = []
    if isinstance(name, str):
        swapped = [other for other in known if sorted(other) == sorted(name)]  # difflib would prefer a letter left out
        close = swapped or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"
    return UnknownNameError(f"{where}: no {name!r}; {hint}")
