"""What an attention refuses beyond core's checks: a site it cannot stand at, a kernel without a centre.

Each raises one line, a ``ValueError``; a placement adds the site.
"""

from __future__ import annotations

from quietspike.core import OptionError, Site


def require_space(attention: str, site: Site) -> None:
    """Refuse a fully connected site.

    >>> require_space("ca", Site("fc1.current", "current", steps=4, channels=256, spatial=False))
    Traceback (most recent call last):
    ValueError: ca needs space; fully connected layers take ta or ta_snn
    """
    if not site.spatial:
        raise ValueError(f"{attention} needs space; fully connected layers take ta or ta_snn")


def require_time(attention: str, site: Site) -> None:
    """Refuse a membrane site: inside the neuron's step there is no other step to weigh against."""
    if site.signal == "membrane":
        raise ValueError(f"{attention} needs more than one step; a membrane site shows one at a time")


def check_odd(**options: int) -> None:
    """Refuse anything but an odd number of at least 1: only then has a kernel a centre and the map keeps its size.

    >>> check_odd(kernel=4)
    Traceback (most recent call last):
    quietspike.core.errors.OptionError: kernel=4: must be an odd number of at least 1
    """
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value % 2 == 0:
            raise OptionError(f"{option}={value!r}: must be an odd number of at least 1")
