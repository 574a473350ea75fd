"""What quietspike raises for a user's mistake: one line that names what is wrong, and the near match."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

HEAD = re.compile(r"[A-Za-z_]\w*\.(?:\w+\.)*")
"""Of a dotted key, as ``train.`` of ``train.epochs``; 0.25 has none."""


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
    >>> str(unknown_name("key", "train.x", ["seed", "train.loss", "train.epochs"]))
    "key: no 'train.x'; beside it are: train.epochs, train.loss"
    >>> str(unknown_name("value", "0.9", ["0.25", "1"]))
    "value: no '0.9'; there are: 0.25, 1"
    """
    known = sorted(known)
    found = HEAD.match(name) if isinstance(name, str) else None
    head = found[0] if found else ""
    beside = [key for key in known if head and key.startswith(head) and "." not in key.removeprefix(head)]
    if beside:
        near = _closest(str(name).removeprefix(head), [key.removeprefix(head) for key in beside])
        near, others = near and head + near, f"beside it are: {', '.join(beside)}"
    else:
        near = _closest(name, known) if isinstance(name, str) else ""
        others = f"there are: {', '.join(known) or 'none'}"
    return UnknownNameError(f"{where}: no {name!r}; {f'did you mean {near!r}?' if near else others}")


def _closest(name: str, known: list[str]) -> str:
    """The nearest, or nothing.

    First one of the same letters, of which difflib would drop one; then one with these initials, what difflib finds,
    and one that begins so.
    """
    anagrams = [other for other in known if sorted(other) == sorted(name)]
    abbreviated = [other for other in known if "_" in other and "".join(w[:1] for w in other.split("_")) == name]
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    longer = [other for other in known if name and other.startswith(name)]
    return next(iter([*anagrams, *abbreviated, *similar, *longer]), "")
