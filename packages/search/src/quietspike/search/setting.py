"""One option that a search may vary beside attention: its choices or its range, and when it counts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_serializer, model_validator

from quietspike.core import OptionError

DIGITS = 6
"""Significant digits of a value from a continuous range: what a design says is what was trained."""

NARROWEST = 1e-3
"""Width of a continuous range, as a share of its larger end: six digits then tell a thousand values apart."""

FARTHEST = 2**53
"""From zero: Optuna keeps all numbers as floats, which hold whole ones up to here."""

MOST_VALUES = 100_000
"""Of a range with a step."""


class Setting(BaseModel):
    """Values to choose from, or a range of numbers.

    Args:
        choices: any values; a bare list stands for them.
        low: the least of a range.
        high: the largest; a range of whole numbers holds whole numbers alone.
        log: whether a range is searched by orders of magnitude.
        step: between the numbers of a range; 1 for whole numbers, any number otherwise.
        when: by the keys of other settings, the values of those at which this one counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    choices: tuple[Any, ...] | None = Field(None, min_length=1)
    low: StrictInt | StrictFloat | None = None
    high: StrictInt | StrictFloat | None = None
    log: bool = False
    step: StrictInt | StrictFloat | None = Field(None, gt=0)
    when: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        """A bare list is choices; a bare value in a condition is the only one."""
        if isinstance(value, list | tuple):
            return {"choices": value}
        if isinstance(value, Mapping) and isinstance(value.get("when"), Mapping):
            when = {key: one if isinstance(one, list | tuple) else [one] for key, one in value["when"].items()}
            return {**value, "when": when}
        return value

    @model_validator(mode="after")
    def _check(self) -> Setting:
        if self.choices is not None:
            self._check_choices(self.choices)
            return self
        if (self.low is None) != (self.high is None):
            given, missing = ("low", "high") if self.high is None else ("high", "low")
            raise OptionError(f"has {given} and no {missing}; a setting is given whole: {{low: 0.1, high: 0.5}}")
        if self.low is None or self.high is None:
            raise OptionError("has neither choices nor low and high")
        if self.low > self.high:
            raise OptionError(f"low={self.low}: is above high={self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            wrong = f"step={self.step}: does not go" if self.step is not None else f"low={self.low}: must be above 0"
            raise OptionError(f"{wrong} with log")
        self._check_width(self.low, self.high)
        return self

    def _check_width(self, low: float, high: float) -> None:
        for name, number in (("low", low), ("high", high), ("step", self.step or 0)):
            if abs(number) > FARTHEST:
                raise OptionError(f"{name}: is further from 0 than {FARTHEST:,}")
        width = _exact(high) - _exact(low)
        if self.step is None and not self.whole:
            if 0 < width < NARROWEST * max(abs(low), abs(high)):
                raise OptionError(f"low={low}, high={high}: are too close; give choices, or a step")
            return
        if width % self._step:
            raise OptionError(f"high={high}: is not low={low} and a multiple of step={self.step}")
        if width / self._step >= MOST_VALUES or self._step < 2 * math.ulp(max(abs(low), abs(high))):
            raise OptionError(f"low={low}, high={high}: are too many values, or too close; give a larger step")

    def _check_choices(self, choices: tuple[Any, ...]) -> None:
        given = [key for key in ("low", "high", "step") if getattr(self, key) is not None]
        if given or self.log:
            raise OptionError(f"{given[0] if given else 'log'}: is of a range, and there are choices")
        try:
            texts = [as_text(choice) for choice in choices]
        except ValueError:
            raise OptionError(
                f"choices: {list(choices)}: are not all finite numbers, text, lists and the like"
            ) from None
        for text in texts:
            if texts.count(text) > 1:
                raise OptionError(f"choices: {text} comes twice")

    @model_serializer(mode="plain")
    def _compact(self) -> dict[str, Any]:
        """What was given."""
        fields = {key: getattr(self, key) for key in type(self).model_fields}
        data = {key: value for key, value in fields.items() if value not in (None, {}) and value is not False}
        return json.loads(json.dumps(data))  # type: ignore[no-any-return]

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return all(number is None or isinstance(number, int) for number in (self.low, self.high, self.step))

    @cached_property
    def values(self) -> tuple[Any, ...] | None:
        """All of them; ``None`` for a range without a step."""
        if self.choices is not None:
            return self.choices
        assert self.low is not None
        assert self.high is not None
        if self.step is None and not self.whole:
            return (float(self.low),) if self.low == self.high else None
        count = int((_exact(self.high) - _exact(self.low)) / self._step) + 1
        kind = int if self.whole else float
        return tuple(kind(_exact(self.low) + index * self._step) for index in range(count))

    @property
    def _step(self) -> Fraction:
        return _exact(1 if self.step is None else self.step)

    @property
    def ends(self) -> tuple[Any, ...]:
        """What stands for all of them in a check: the values, or those at both ends of a range."""
        if self.choices is not None:
            return self.choices
        return tuple(map(self.settle, dict.fromkeys((self.low, self.high))))

    @property
    def distribution(self) -> BaseDistribution:
        """For Optuna, which knows choices by their text."""
        if self.choices is not None:
            return CategoricalDistribution([as_text(choice) for choice in self.choices])
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def value(self, param: Any) -> Any:
        """The value of Optuna's parameter."""
        if self.choices is not None:
            return json.loads(param)
        if self.whole:
            return int(param)
        if self.step is not None:
            assert self.low is not None
            index = round((param - self.low) / self.step)
            return float(_exact(self.low) + index * _exact(self.step))
        return min(max(float(f"{param:.{DIGITS}g}"), float(self.low or 0)), float(self.high or 0))

    def param(self, value: Any) -> Any:
        """Optuna's parameter of a value."""
        return as_text(value) if self.choices is not None else value

    def settle(self, value: Any) -> Any:
        """One of the values as all designs have it: 1 is 1.0 in a range of any numbers, and has few digits there."""
        return self.value(self.param(value))

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        if self.choices is not None:
            return as_text(value) in map(as_text, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return value in self.values if self.values is not None else self.low <= value <= self.high


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Optuna's parameter of a trial, by the sampler."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def as_text(value: Any) -> str:
    """Canonical JSON, in which 1, 1.0 and true are three values.

    Raises:
        ValueError: for what JSON does not have.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _exact(number: float) -> Fraction:
    """As it is written: 0.1 is a tenth."""
    return Fraction(str(number))


def spell(value: Any) -> str:
    """A setting's value as one reads it: text as it is, all else as JSON.

    >>> spell("plif"), spell([8, 16]), spell(None)
    ('plif', '[8, 16]', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
