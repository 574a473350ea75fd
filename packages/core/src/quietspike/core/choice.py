"""A plugin's name with its options, as plain data that can be compared, hashed, printed and built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from quietspike.core.errors import OptionError, PluginError, unknown_name

Scalar: TypeAlias = str | int | float | bool | None
ChoiceLike: TypeAlias = "Choice | str | Mapping[str, Any]"


@dataclass(frozen=True)
class Choice:
    """A plugin and its options.

    >>> Choice.of({"name": "ca", "channel_reduction": 4}).label
    'ca(channel_reduction=4)'
    >>> Choice.of("ta").data
    'ta'

    Args:
        name: the plugin's name in its registry.
        options: its keyword options, sorted; values are JSON's scalars.
    """

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def of(cls, value: ChoiceLike) -> Choice:
        """From a name, a mapping with ``name`` and options, or a choice.

        Raises:
            OptionError: if it is none of these, or an option's value is not a scalar.
        """
        if isinstance(value, Choice):
            return value
        if isinstance(value, str):
            return cls(value)
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise OptionError(f"expected a name or a mapping with a name, not {value!r}")
        options = sorted((str(key), option) for key, option in value.items() if key != "name")
        for key, option in options:
            if not isinstance(option, str | int | float | bool | None) or not _finite(option):
                raise OptionError(f"{value['name']}: {key}={option!r} is no finite number, text, true, false or null")
        return cls(value["name"], tuple(options))

    @property
    def label(self) -> str:
        """For people: ``ca`` or ``ca(channel_reduction=4)``."""
        inside = ", ".join(f"{key}={value}" for key, value in self.options)
        return f"{self.name}({inside})" if inside else self.name

    @property
    def data(self) -> str | dict[str, Scalar]:
        """For JSON and YAML: the bare name, or a mapping."""
        return {"name": self.name, **dict(self.options)} if self.options else self.name


def _finite(option: Scalar) -> bool:
    return not isinstance(option, float) or math.isfinite(option)


def check_options(label: str, plugin: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse an option that a plugin does not take.

    Raises:
        PluginError: naming the plugin, the option and the nearest one that exists.
    """
    parameters = inspect.signature(plugin).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
        or (parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty)
    ]
    for option in options:
        if option not in known:
            raise PluginError(str(unknown_name(f"{label}: option", option, known)))
