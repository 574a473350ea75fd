"""The six registries: plugins by name, found through entry points and imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeAlias, TypeVar

from torch import nn

from quietspike.core.contracts import Engine, EventDataset
from quietspike.core.errors import QuietspikeError, UnknownNameError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Plugins of one kind, by name.

    A distribution joins with one line in its ``pyproject.toml``; the group is ``quietspike.<kind>``::

        [project.entry-points."quietspike.attention"]
        mine = "my_package:MyAttention"

    Args:
        kind: what the plugins are, as in ``attention``; also names the entry-point group.
        install: the distribution that brings the usual plugins of this kind.
    """

    def __init__(self, kind: str, install: str) -> None:
        self.kind = kind
        self.install = install
        self._registered: dict[str, T] = {}
        self._loaded: dict[str, T] = {}  # reading all entry points takes 15 ms, and a search asks thousands of times

    def names(self) -> list[str]:
        """All names, sorted; imports no plugin."""
        return sorted({*self._registered, *self._found()})

    def get(self, name: str) -> T:
        """The plugin of that name; imports it alone.

        Raises:
            UnknownNameError: if nothing has that name (a ``LookupError``); it says what comes close.
            QuietspikeError: if two distributions claim the name, or its import fails.
        """
        if not isinstance(name, str):
            raise unknown_name(self.kind, name, self.names())
        if name in self._registered:
            return self._registered[name]
        if name in self._loaded:
            return self._loaded[name]
        found = self._found()
        if not found and not self._registered:
            raise UnknownNameError(f"{self.kind}: no {name!r}: none is installed; pip install {self.install}")
        if name not in found:
            raise unknown_name(self.kind, name, self.names())
        claims = found[name]
        if len(claims) > 1:
            owners = " and ".join(sorted(claims))
            raise QuietspikeError(f"{self.kind}: {name!r} is claimed by {owners}; uninstall one of them")
        [(owner, entry)] = claims.items()
        try:
            plugin: T = entry.load()
        except Exception as error:  # whatever another's module raises while it is imported
            raise QuietspikeError(f"{self.kind}: {name!r} of {owner} cannot be imported: {error}") from error
        self._loaded[name] = plugin
        return plugin

    def register(self, name: str, plugin: T) -> None:
        """Add a plugin in this process, for notebooks and tests; it goes before an installed one of that name."""
        self._registered[name] = plugin

    def owner(self, name: str) -> str:
        """The distribution, with its version, that brings a name."""
        if name in self._registered:
            return "registered in this process"
        return " and ".join(sorted(self._found().get(name, {})))

    def _found(self) -> dict[str, dict[str, EntryPoint]]:
        """Entry points by name, then by distribution; an editable install seen twice counts once."""
        found: dict[str, dict[str, EntryPoint]] = {}
        for entry in entry_points(group=f"quietspike.{self.kind}"):
            owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed distribution"
            found.setdefault(entry.name, {})[owner] = entry
        return found


Modules: TypeAlias = Registry[Callable[..., nn.Module]]

NEURONS: Modules = Registry("neurons", "quietspike-core")
BACKBONES: Modules = Registry("backbones", "quietspike-core")
ATTENTION: Modules = Registry("attention", "quietspike-attention")
DATASETS: Registry[Callable[..., EventDataset]] = Registry("datasets", "quietspike-datasets")
ENGINES: Registry[Callable[..., Engine]] = Registry("engines", "quietspike-search")
COMMANDS: Registry[Callable[[Sequence[str], Any], int]] = Registry("commands", "quietspike-datasets")
"""Of ``quietspike`` on the command line: called with the words behind the command and a ``rich.console.Console``."""
