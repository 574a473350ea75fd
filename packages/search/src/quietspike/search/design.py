"""What one trial tries: a placement, and the settings that a search may vary beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from quietspike.core import OptionError, Placement
from quietspike.core.errors import unknown_name
from quietspike.search.config import Experiment, check_experiment
from quietspike.search.reading import put_all
from quietspike.search.setting import as_text, spell

PARTS = {"placement", "settings"}
"""The keys of a design that has settings; one without is written as its placement alone."""


@dataclass(frozen=True, init=False, repr=False)
class Design:
    """A placement with settings; frozen, hashable and plain data, as the placement itself.

    Without settings it reads, is named and is stored as its placement alone.

    >>> design = Design(Placement({"block1.current": "ta"}), {"neuron.decay": 0.5})
    >>> design.label
    'block1 ta · neuron.decay=0.5'
    >>> Design.of(design.data) == design, Design(design.placement).json
    (True, '{"block1.current":"ta"}')

    Args:
        placement: which attention where.
        settings: values of an experiment's keys, by their dotted names; all others are the experiment's own.
    """

    placement: Placement = field(compare=False)  # which the text has in it, and text is compared faster
    json: str

    def __init__(self, placement: Placement, settings: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "placement", placement)
        whole = {"placement": placement.data, "settings": dict(settings or {})}
        object.__setattr__(self, "json", as_text(whole if settings else placement.data))

    def __repr__(self) -> str:
        return f"Design({self.data})"

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Design:
        """From ``data``; a placement's is a design's too.

        Raises:
            QuietspikeError: if it is neither.
        """
        if not isinstance(data, Mapping) or PARTS.isdisjoint(data):
            return cls(Placement(data))
        for key in data.keys() - PARTS:
            raise unknown_name("design", key, PARTS)
        settings = data.get("settings", {})
        if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
            raise OptionError(f"settings: must be a mapping from keys such as neuron.decay, not {settings!r}")
        try:
            return cls(Placement(data.get("placement")), settings)
        except ValueError as error:
            raise error if isinstance(error, OptionError) else OptionError(f"settings: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Design:
        """From the canonical form.

        Raises:
            OptionError: if it is no JSON, or says something else.
        """
        try:
            return cls.of(json.loads(text))
        except json.JSONDecodeError as error:
            raise OptionError(f"design: no JSON: {error}") from None

    @property
    def settings(self) -> dict[str, Any]:
        """Values by the dotted names of an experiment's keys, sorted."""
        data = json.loads(self.json)
        return dict(data["settings"]) if "settings" in data else {}

    @property
    def data(self) -> dict[str, Any]:
        """Plain mappings, for YAML; ``Design.of(d.data) == d``."""
        settings = self.settings
        return {"placement": self.placement.data, "settings": settings} if settings else self.placement.data

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal digits of the canonical form, to name files by."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:10]

    @property
    def label(self) -> str:
        """For people: the placement's, and the settings behind it."""
        return " · ".join([self.placement.label, *(f"{key}={spell(value)}" for key, value in self.settings.items())])

    def apply(self, experiment: Experiment) -> Experiment:
        """The experiment with these settings in it.

        Raises:
            QuietspikeError: for a key that it does not have, or a value that is refused.
        """
        settings = self.settings
        if not settings:
            return experiment
        return check_experiment(put_all(experiment.data, [(key.split("."), value) for key, value in settings.items()]))
