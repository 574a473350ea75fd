"""A published table as data: its rows, the settings that they were made with, and the figures that were printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quietspike.core import Choice, OptionError, Placement, QuietspikeError, Site
from quietspike.core.errors import unknown_name
from quietspike.core.placement import fit_to_site
from quietspike.search.config import Experiment, check_experiment
from quietspike.search.mistakes import explain
from quietspike.search.reading import override, read_yaml


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Published(_Frozen):
    """What a paper prints of a row; what it does not print is left out.

    Args:
        accuracy: in %.
        firing_rate: NASAR (ASA-SNN: NASFR).
        spikes: a sample.
        efficiency: rEE.
    """

    accuracy: float | None = None
    firing_rate: float | None = None
    spikes: float | None = None
    efficiency: float | None = None


class Row(_Frozen):
    """One row of a table.

    Args:
        placement: an attention at every ``*.current``, or attention by patterns of sites, as ``block*.membrane``.
        change: keys of the experiment that are other than the table's.
        counted: which neurons its firing rate and spikes are of: ``all``, or ``spatial``, without fully connected
            layers.
        published: what was printed.
    """

    placement: str | dict[str, str | dict[str, Any]] = "none"
    change: dict[str, Any] = Field(default_factory=dict)
    counted: Literal["all", "spatial"] = "all"
    published: Published = Published()

    def place(self, sites: Iterable[Site]) -> Placement:
        """The placement at the sites that a backbone has.

        Raises:
            UnknownNameError: for a pattern that no site fits.
        """
        known = list(sites)
        patterns = {"*.current": self.placement} if isinstance(self.placement, str) else self.placement
        chosen: dict[str, Choice] = {}
        for pattern, choice in patterns.items():
            fitting = [site for site in known if fnmatchcase(site.name, pattern)]
            if not fitting:
                names = dict.fromkeys([*(site.name for site in known), *(f"*.{site.signal}" for site in known)])
                raise unknown_name("placement", pattern, names)
            chosen |= {site.name: fit_to_site(Choice.of(choice), site) for site in fitting}
        return Placement(chosen)


class Reproduction(_Frozen):
    """A published table.

    Args:
        title: what it shows.
        source: where it was printed.
        experiment: keys of the experiment that all rows share.
        rows: by name, in the table's order.
    """

    title: str
    source: str
    experiment: dict[str, Any]
    rows: dict[str, Row] = Field(min_length=1)

    def base(self, name: str) -> str | None:
        """The row that another's rEE is against: no attention, and otherwise the same; ``None`` where there is none."""
        change = self.rows[name].change
        alike = (base for base, row in self.rows.items() if row.placement == "none" and row.change == change)
        return next(alike, None)

    def choose(self, names: Sequence[str]) -> list[str]:
        """Rows to train, in the table's order: those asked for and what they are compared with; all without any.

        Raises:
            UnknownNameError: for a row that there is not.
        """
        for name in names:
            if name not in self.rows:
                raise unknown_name("row", name, self.rows)
        wanted = {*names, *map(self.base, names)} if names else self.rows.keys()
        return [name for name in self.rows if name in wanted]

    def row_experiment(self, name: str, overrides: Sequence[str] = ()) -> Experiment:
        """The experiment of a row: the table's keys, then the row's own, then the command line's.

        Raises:
            QuietspikeError: for a key or value that cannot be; names the row.
        """
        try:
            return check_experiment(override(_changed(self.experiment, self.rows[name].change), overrides))
        except QuietspikeError as error:
            raise type(error)(f"row {name}: {error}") from None


def load_reproduction(path: Path) -> Reproduction:
    """Read a table; every row's keys have been checked, its plugins' options not yet.

    Raises:
        QuietspikeError: in one line, naming the file, the key and what comes close.
    """
    data = read_yaml(path)
    if "rows" not in data and "dataset" in data:
        raise OptionError(f"{path}: is an experiment; quietspike search and quietspike train take it")
    try:
        try:
            table = Reproduction.model_validate(data)
        except ValidationError as error:
            raise explain(error, Reproduction) from None
        for name in table.rows:
            table.row_experiment(name)
    except QuietspikeError as error:
        raise type(error)(f"{path}: {error}") from None
    return table.model_copy(update={"experiment": {"name": re.sub(r"[^\w.-]", "-", path.stem), **table.experiment}})


def _changed(data: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """With other values; a plugin of another name leaves none of the first one's options."""
    changed = dict(data)
    for key, value in change.items():
        before = changed.get(key)
        before = {"name": before} if isinstance(before, str) and isinstance(value, Mapping) else before
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = value if value.get("name", before.get("name")) != before.get("name") else _changed(before, value)
        changed[key] = value
    return changed
