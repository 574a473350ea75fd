"""The keys of an experiment, for the command line's help."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import PydanticUndefined

from quietspike.search.config import Experiment, PluginOptions
from quietspike.search.mistakes import block_of, fields_of
from quietspike.search.shaping import PLUGINS

EXAMPLES = {
    "search.constraints": "[spikes <= 20000]",
    "search.settings": "{neuron.decay: [0.25, 0.5], train.learning_rate: {low: 1e-3, high: 0.1, log: true}}",
}
"""Of what is empty by default."""


def describe_keys() -> str:
    """One line for each key of an experiment, with its default; null blocks with what they may hold."""
    lines = []
    for key, field in Experiment.model_fields.items():
        if key in PLUGINS:
            lines.append(f"  --{key}: {_default_text(field.default)}; its options are --{key}.OPTION")
        else:
            lines.extend(_lines_of(key, field.default))
            lines.extend(_parts_of_optional(key, field.annotation))
    return "\n".join(lines)


def _lines_of(key: str, default: Any) -> list[str]:
    """A line, or those of the keys inside."""
    names = [] if isinstance(default, PluginOptions) else fields_of(type(default))
    inner = [line for name in names for line in _lines_of(f"{key}.{name}", getattr(default, name))]
    example = f"; as {EXAMPLES[key]}" if key in EXAMPLES else ""
    return inner or [f"  --{key}: {_default_text(default)}{example}"]


def _parts_of_optional(key: str, kind: Any) -> list[str]:
    """Lines for the keys of blocks that are null by default."""
    return [
        f"  --{key}.{name}.{part}: {_default_text(inner.default)}; turns {name} on"
        for name, field in getattr(kind, "model_fields", {}).items()
        if (block := block_of(field.annotation)) is not field.annotation
        for part, inner in getattr(block, "model_fields", {}).items()
    ]


def _default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, PluginOptions):
        return default.name
    return "null" if default is None else json.dumps(default, default=str)
