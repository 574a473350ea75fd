"""All options that a search varies beside attention, with the conditions between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from quietspike.core import OptionError
from quietspike.core.errors import unknown_name
from quietspike.core.recipe import Recipe
from quietspike.search.setting import Setting, as_text, spell

HEADS = ("dataset", "backbone", "neuron", "train")
"""The parts of an experiment that have options to vary."""

SHAPING = ("dataset.", "backbone.", "neuron.name")
"""Keys that decide which sites a network has, of which shape, or which options its neurons take."""

OF_A_SETTING = set(Setting.model_fields)

MOST_CASES = 4096
"""Networks that are looked at before the first trial."""


@dataclass(frozen=True)
class Settings:
    """Settings in an order in which each comes behind those that it depends on.

    Args:
        by_key: by the dotted key of the experiment that it replaces.
    """

    by_key: Mapping[str, Setting]

    @classmethod
    def of(cls, by_key: Mapping[str, Setting]) -> Settings:
        """In order.

        Raises:
            OptionError: if they depend on each other in a circle.
        """
        ordered: dict[str, Setting] = {}
        while len(ordered) < len(by_key):
            ready = [key for key, s in by_key.items() if key not in ordered and s.when.keys() <= ordered.keys()]
            if not ready:
                left = [key for key in by_key if key not in ordered]
                raise OptionError(f"{', '.join(left)}: the conditions lead in a circle")
            ordered |= {key: by_key[key] for key in ready}
        return cls(ordered)

    @property
    def branching(self) -> tuple[str, ...]:
        """Those that decide on sites, options or other settings, and have a finite number of values."""
        parents = {parent for setting in self.by_key.values() for parent in setting.when}
        deciding = {key for key, s in self.by_key.items() if key.startswith(SHAPING) and s.values is not None}
        pending = list(parents | deciding)
        while pending:
            above = set(self.by_key[pending.pop()].when) - parents
            parents |= above
            pending += above
        return tuple(key for key in self.by_key if key in parents | deciding)

    def counts(self, key: str, chosen: Mapping[str, Any]) -> bool:
        """Whether a setting counts where others have been chosen."""
        return all(
            parent in chosen and as_text(chosen[parent]) in map(as_text, values)
            for parent, values in self.by_key[key].when.items()
        )

    def chosen(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values of Optuna's parameters, of those that count."""
        chosen: dict[str, Any] = {}
        for key, setting in self.by_key.items():
            if self.counts(key, chosen):
                chosen[key] = setting.value(params[param_name(key)])
        return chosen

    def branches(self) -> Iterator[dict[str, Any]]:
        """Each combination of values of ``branching``; none holds one that does not count."""
        return self._complete({}, self.branching)

    def _complete(self, chosen: dict[str, Any], left: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not left:
            yield chosen
        elif not self.counts(left[0], chosen):
            yield from self._complete(chosen, left[1:])
        else:
            for value in self.by_key[left[0]].values or ():
                yield from self._complete({**chosen, left[0]: value}, left[1:])

    def leaves(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        """All others that count in a branch."""
        return tuple(key for key in self.by_key if key not in self.branching and self.counts(key, chosen))

    def size(self, leaves: Sequence[str]) -> float:
        """How many combinations leaves have; infinitely many where one has no step."""
        values = [self.by_key[key].values for key in leaves]
        return math.inf if None in values else math.prod(len(value) for value in values if value is not None)

    def requiring(self, key: str, value: Any) -> dict[str, Any]:
        """A value, with the first values of others at which it counts."""
        chosen: dict[str, Any] = {}
        for parent, values in self.by_key[key].when.items():
            chosen |= self.requiring(parent, values[0])
        return {**chosen, key: value}

    def completed(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """With the first value of everything else that counts."""
        whole = dict(chosen)
        for key, setting in self.by_key.items():
            if key not in whole and self.counts(key, whole):
                whole[key] = setting.ends[0]
        return whole


def param_name(key: str) -> str:
    """What Optuna and MLflow call a setting."""
    return f"set.{key}"


def spread(value: Any) -> Any:
    """Settings under dotted keys, where some came nested, as the command line gives them."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        nested = isinstance(inner, Mapping) and not OF_A_SETTING & inner.keys() and inner
        flat |= {f"{key}.{name}": one for name, one in spread(inner).items()} if nested else {key: inner}
    return flat


def check_settings(by_key: dict[str, Setting]) -> dict[str, Setting]:
    """The same, with conditions in the words of designs; keys that an experiment does not have are refused.

    Raises:
        QuietspikeError: naming the key, the value and what comes close.
    """
    checked = {}
    for key, setting in by_key.items():
        check_key(key)
        when: dict[str, Any] = {}
        for parent, values in setting.when.items():
            where = f"search.settings.{key}.when"
            if parent not in by_key:
                raise unknown_name(f"{where}: among the settings", parent, by_key.keys() - {key})
            known = by_key[parent].values
            if known is None:
                raise OptionError(f"{key}.when: {parent} is a range without a step; only its values can be a condition")
            for value in values:
                if not by_key[parent].holds(value):
                    raise unknown_name(f"{where}.{parent}", spell(value), map(spell, known))
            when[parent] = tuple(map(by_key[parent].settle, values))
        checked[key] = setting.model_copy(update={"when": when})
    Settings.of(checked)
    return checked


def check_key(key: str) -> None:
    """Refuse what no setting can replace.

    Raises:
        QuietspikeError: naming what comes close.
    """
    head, _, name = key.partition(".")
    if head not in HEADS:
        raise unknown_name(f"search.settings: {key}", head, HEADS)
    if not name:
        raise OptionError(f"{key}: names no option; say {head}.OPTION")
    recipe = [f"train.{field.name}" for field in fields(Recipe)]
    if head == "train" and key not in recipe:
        raise unknown_name("search.settings", key, recipe)
    if key == "dataset.name":
        raise OptionError("dataset.name: designs are compared on one data set")
