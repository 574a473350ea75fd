"""The keys of an experiment, for the command line's help."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticUndefined

from quietspike.search.config import PLUGINS, Experiment, PluginOptions
from quietspike.search.mistakes import fields_of


def describe_keys() -> str:
    """One line for each key of an experiment, with its default; for the command line's help."""
    lines = []
    for key, field in Experiment.model_fields.items():
        if key in PLUGINS:
            lines.append(f"  --{key}: {_default_text(field.default)}; its options are --{key}.OPTION")
        elif names := fields_of(field.annotation):
            lines.extend(f"  --{key}.{name}: {_default_text(getattr(field.default, name))}" for name in names)
        else:
            lines.append(f"  --{key}: {_default_text(field.default)}")
    return "\n".join(lines)


def _default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, PluginOptions):
        return default.name
    return "null" if default is None else json.dumps(default, default=str)
