"""Plain data from YAML and from the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from quietspike.core import OptionError


class _Loader(yaml.SafeLoader):
    """YAML as people write it: ``1e-3`` is a number, as in YAML 1.2, and ``2026-01-31`` is text; no key comes twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise ComposerError(None, None, f"the key {key.value!r} comes twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """What a YAML text says, as plain data.

    >>> parse_yaml("{rate: 1e-3, day: 2026-01-31}")
    {'rate': 0.001, 'day': '2026-01-31'}

    Raises:
        OptionError: if it is no YAML; says why, in one line.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise OptionError(f"{line}no YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise OptionError(f"no YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        OptionError: if it is missing, no YAML, or something else; names the file and the line.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OptionError(f"{path}: not a text file in UTF-8") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        kind = "nothing" if data is None else type(data).__name__
        raise OptionError(f"{path}: must hold keys and values, not {kind}")
    for key in data:
        if not isinstance(key, str):
            raise OptionError(f"{path}: the key {key!r} is no text")
    return data


def override(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Plain data with the command line's values in it.

    A whole (``--dataset nmnist``) goes before its parts, and a plugin's name before its options, in whatever order
    they are given. Another name drops the options that belonged to the first, the same name keeps them.

    >>> override({"train": {"epochs": 9}}, ["--train.epochs", "5", "--seed=1"])
    {'train': {'epochs': 5}, 'seed': 1}

    Raises:
        OptionError: for a word that is no option, or a missing value.
    """
    return put_all(data, _pairs(overrides))


def put_all(data: Mapping[str, Any], pairs: Iterable[tuple[Sequence[str], Any]]) -> dict[str, Any]:
    """Plain data with other values in it, each given by the keys that lead to it; in the order of ``override``."""
    changed = dict(data)
    for path, value in sorted(pairs, key=lambda pair: (len(pair[0]), pair[0][-1] != "name")):
        _put(changed, path, value)
    return changed


def _pairs(words: Sequence[str]) -> list[tuple[list[str], Any]]:
    pairs = []
    left = list(words)
    while left:
        word = left.pop(0)
        key, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise OptionError(f"unexpected {word!r}: options are --key.subkey value")
        if not equals:
            if not left or left[0].startswith("--"):
                raise OptionError(f"--{key}: a value is missing")
            text = left.pop(0)
        try:
            pairs.append((key.split("."), parse_yaml(text)))
        except OptionError:
            raise OptionError(f"--{key}: {text!r} is no YAML value") from None
    return pairs


def _put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        inner = data.get(parent)
        if isinstance(inner, str):  # a plugin given by its bare name
            inner = {"name": inner}
        data[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        data = data[parent]
    if parents and last == "name" and data.get("name", value) != value:
        data.clear()  # another plugin: the options of the first would not fit it
    before = data.get(last)
    if isinstance(before, Mapping) and isinstance(value, str) and before.get("name") == value:
        return  # the same plugin by its bare name
    data[last] = value
