"""Checks of option values: one line that names the option, its value and what it may be."""

from __future__ import annotations

from quietspike.core.errors import OptionError


def check_whole(where: str, least: int = 0, **options: int | None) -> None:
    """Refuse what is not a whole number of at least ``least``; an option that is left out (``None``) passes.

    Raises:
        OptionError: naming the option and its value.
    """
    for option, value in options.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise OptionError(f"{where}: {option}={value!r} is not a whole number of at least {least}")


def check_between(where: str, low: float, high: float, **options: float) -> None:
    """Refuse what is not a number with low <= value <= high.

    Raises:
        OptionError: naming the option and its value.
    """
    for option, value in options.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise OptionError(f"{where}: {option}={value!r} is not a number from {low:g} to {high:g}")


def check_flag(where: str, **options: bool) -> None:
    """Refuse what is neither true nor false; the text "false" would else count as true.

    Raises:
        OptionError: naming the option and its value.
    """
    for option, value in options.items():
        if not isinstance(value, bool):
            raise OptionError(f"{where}: {option}={value!r} is neither true nor false")
