"""A user's mistake in an experiment, in one line that names key, value and near match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from quietspike.core import OptionError, QuietspikeError
from quietspike.core.errors import unknown_name

NAMED = "must be a name, or a mapping with a name"
UNION_PARTS = {
    "str": NAMED,
    "dict[str,any]": NAMED,
    "int": "must be a finite number",
    "float": "must be a finite number",
}
"""What pydantic puts into an error's path for the forms of a candidate and of a number, and what is wrong there."""


def explain(error: ValidationError, model: type) -> QuietspikeError:
    """One line for pydantic's first complaint about a model; for a key that does not exist, if there is one."""
    errors = error.errors()
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    first = next((e for e in errors if e["type"] in unknown), errors[0])
    path = [str(part) for part in first["loc"]]
    if first["type"] in unknown:
        known = [".".join([*path[:-1], name]) for name in _keys_at(model, path[:-1])]
        return unknown_name("key", ".".join(path), known)
    where = ".".join(part for part in path if part not in UNION_PARTS)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, QuietspikeError):
        return type(cause)(f"{where}: {cause}" if where else str(cause))
    if first["type"] == "missing":
        return OptionError(f"{where}: missing")
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        return unknown_name(where, first["input"], re.findall("'([^']*)'", first["ctx"]["expected"]))
    return OptionError(f"{where}: {_wording(first)}, not {first['input']!r}")


def _wording(error: ErrorDetails) -> str:
    """Pydantic's message in YAML's words."""
    if error["loc"][-1] in UNION_PARTS:
        return UNION_PARTS[error["loc"][-1]]
    message = re.sub(r" (or (an )?instance of \w+|for <class .*>)$", "", error["msg"])
    return (message[0].lower() + message[1:]).replace("dictionary", "mapping").replace("tuple", "list")


def _keys_at(model: type, path: Sequence[str]) -> list[str]:
    kind: Any = model
    for part in path:
        kind = get_args(kind)[1] if get_origin(kind) is dict else kind.model_fields[part].annotation
        kind = block_of(kind)
    return fields_of(kind)


def block_of(kind: Any) -> Any:
    """The model of a block that may be null; whatever else it is, itself."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    return parts[0] if len(parts) == 1 and NoneType in get_args(kind) and fields_of(parts[0]) else kind


def fields_of(kind: Any) -> list[str]:
    """The keys of a model or a dataclass; none of anything else."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return list(getattr(kind, "model_fields", {}))
