"""What an attention refuses: a site it cannot stand at, an option out of its range.

Each raises a one-line ``ValueError`` that names the option; a placement adds the site. Types are checked too, since a
configuration may say ``"false"``, which Python takes for true.
"""

from __future__ import annotations

from quietspike.core import Site


def require_space(attention: str, site: Site) -> None:
    """Refuse a fully connected site.

    >>> require_space("ca", Site("fc1.current", "current", steps=4, channels=256, spatial=False))
    Traceback (most recent call last):
    ValueError: ca needs space; fully connected layers take ta
    """
    if not site.spatial:
        raise ValueError(f"{attention} needs space; fully connected layers take ta")


def require_time(attention: str, site: Site) -> None:
    """Refuse a membrane site: inside the neuron's step there is no other step to weigh against."""
    if site.signal == "membrane":
        raise ValueError(f"{attention} needs more than one step; a membrane site shows one at a time")


def check_whole(option: str, value: int) -> None:
    """Refuse anything but a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{option} must be a whole number of at least 1, not {value!r}")


def check_odd(option: str, value: int) -> None:
    """Refuse anything but an odd number of at least 1: only then has a kernel a centre and the map keeps its size."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value % 2 == 0:
        raise ValueError(f"{option} must be an odd number of at least 1, not {value!r}")


def check_share(option: str, value: float) -> None:
    """Refuse anything but a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{option} must be a number from 0 to 1, not {value!r}")


def check_flag(option: str, value: bool) -> None:
    """Refuse anything but true and false."""
    if not isinstance(value, bool):
        raise ValueError(f"{option} must be true or false, not {value!r}")
