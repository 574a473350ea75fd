"""Candidates as an experiment writes them, and the choices that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quietspike.core import Choice, OptionError


def expand_candidates(candidates: Sequence[str | Mapping[str, Any]]) -> list[Choice]:
    """Choices from candidates; ``{"name": "ca", "channel_reduction": [4, 8]}`` stands for two.

    Raises:
        OptionError: for a candidate without a name, an option without a value, or two that read alike.
    """
    choices: dict[str, Choice] = {}
    for candidate in candidates:
        variants: list[Any] = [candidate]
        if isinstance(candidate, Mapping):
            variants = [{}]
            for key, value in candidate.items():
                values = value if isinstance(value, list | tuple) else [value]
                if not values:
                    raise OptionError(f"search.candidates: {key}=[]: there is nothing to choose from")
                variants = [{**variant, key: one} for variant in variants for one in values]
        for choice in map(Choice.of, variants):
            if repr(choices.setdefault(choice.label, choice)) != repr(choice):  # 1 equals True, and reads otherwise
                raise OptionError(f"search.candidates: two of them read {choice.label}")
    return list(choices.values())
