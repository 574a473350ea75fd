"""Which attention stands where: a placement is plain data and, at the same time, what a backbone builds it from."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from quietspike.core.choice import Choice, ChoiceLike, check_options
from quietspike.core.contracts import Site
from quietspike.core.errors import OptionError, PluginError, unknown_name
from quietspike.core.registry import ATTENTION


class Placement(Mapping[str, Choice]):
    """A choice of attention for some sites; a site that is absent, or ``none``, has no attention.

    Frozen and hashable. Called with a site it builds that site's module, so it is what a backbone takes as
    ``attention``.

    >>> placement = Placement({"block1.current": {"name": "tcsa", "kernel": 3}, "fc1.current": "none"})
    >>> placement.json
    '{"block1.current":{"kernel":3,"name":"tcsa"}}'

    Args:
        choices: by site name, a plugin's name or a mapping of its name and options.

    Raises:
        OptionError: if a choice is neither; names the site.
    """

    def __init__(self, choices: Mapping[str, ChoiceLike] | None = None) -> None:
        chosen = {site: _choice(site, choice) for site, choice in _by_site(choices).items()}
        self._choices = {site: chosen[site] for site in sorted(chosen) if chosen[site].name != "none"}

    def __getitem__(self, site: str) -> Choice:
        return self._choices[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __hash__(self) -> int:
        return hash(self.json)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placement) and self.json == other.json

    def __repr__(self) -> str:
        return f"Placement({self.data})"

    @classmethod
    def uniform(cls, choice: ChoiceLike, sites: Iterable[Site]) -> Placement:
        """The same attention at every convolution's ``current``.

        Fully connected layers get what ``fit_to_site`` leaves of it.
        """
        chosen = Choice.of(choice)
        return cls({site.name: fit_to_site(chosen, site) for site in sites if site.signal == "current"})

    @property
    def data(self) -> dict[str, Any]:
        """Plain mappings, for YAML; ``Placement(p.data) == p``."""
        return {site: choice.data for site, choice in self._choices.items()}

    @property
    def json(self) -> str:
        """The canonical form: equal placements have equal text."""
        return json.dumps(self.data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Placement:
        """From the canonical form.

        Raises:
            OptionError: if it is no JSON, or says something else.
        """
        try:
            return cls(json.loads(text))
        except json.JSONDecodeError as error:
            raise OptionError(f"placement: no JSON: {error}") from None

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits of the canonical form, to name files by."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:10]

    @property
    def label(self) -> str:
        """For people: ``block1 ta · block3 ca(kernel=7)``; the signal is left out where it is ``current``."""
        parts = (f"{site.removesuffix('.current')} {choice.label}" for site, choice in self._choices.items())
        return " · ".join(parts) or "none"

    def check(self, sites: Iterable[Site]) -> None:
        """Refuse a site that the backbone does not have.

        Raises:
            UnknownNameError: naming the site and the nearest one that exists.
        """
        names = [site.name for site in sites]
        for name in self._choices:
            if name not in names:
                raise unknown_name("site", name, names)

    def __call__(self, site: Site) -> nn.Module:
        """The module for a site; ``nn.Identity`` where there is no attention.

        A backbone asks for the sites that it has: whether a placement names others, ``check`` says, and
        ``build_network`` asks it to.

        Raises:
            UnknownNameError: if no such attention is installed.
            PluginError: if it cannot be built there; names the site, the choice and the reason.
        """
        choice = self._choices.get(site.name)
        return nn.Identity() if choice is None else build_attention(choice, site)


def _by_site(choices: Mapping[str, ChoiceLike] | None) -> Mapping[str, ChoiceLike]:
    if choices is None:
        return {}
    if not isinstance(choices, Mapping) or not all(isinstance(site, str) for site in choices):
        raise OptionError(f"placement: must be a mapping from sites to attention, not {choices!r}")
    return choices


def _choice(site: str, choice: ChoiceLike) -> Choice:
    try:
        return Choice.of(choice)
    except OptionError as error:
        raise OptionError(f"{site}: {error}") from None


def build_attention(choice: Choice, site: Site) -> nn.Module:
    """The module of a choice at a site.

    Raises:
        UnknownNameError: if no such attention is installed.
        PluginError: if it cannot be built there; names the site, the choice and the reason.
    """
    plugin = ATTENTION.get(choice.name)
    check_options(f"{site.name}: {choice.name}", plugin, dict(choice.options))
    try:
        return plugin(site, **dict(choice.options))
    except (ValueError, TypeError, RuntimeError) as error:  # the last from torch, as for a value of a meta tensor
        raise PluginError(f"{site.name}: {choice.label}: {error}") from error


def list_sites(backbone: Callable[..., nn.Module], **options: Any) -> list[Site]:
    """All sites of a backbone, in its own order, by building it once on the meta device (no memory, no numbers).

    Args:
        backbone: a plugin of ``BACKBONES``.
        options: what else it is built with.
    """
    sites: list[Site] = []

    def record(site: Site) -> nn.Module:
        sites.append(site)
        return nn.Identity()

    with torch.device("meta"):
        backbone(attention=record, **options)
    return sites


def fit_to_site(choice: Choice, site: Site) -> Choice:
    """The choice itself where the site has space; at a fully connected layer, what MA-SNN's code puts there.

    An attention with a temporal part, that is one that takes a ``temporal_reduction``, stays where it can stand there
    itself, as ``ta`` and ``ta_snn`` can; in place of any other there is ``ta``, with the options that it takes too. One
    without is ``none``, and so is any at a ``membrane``, which shows one step at a time.

    Raises:
        UnknownNameError: if no such attention is installed.
        PluginError: for an option that it does not take.
    """
    if choice.name == "none":
        return choice
    plugin = ATTENTION.get(choice.name)
    check_options(f"{site.name}: {choice.name}", plugin, dict(choice.options))
    if site.spatial:
        return choice
    if site.signal == "membrane" or "temporal_reduction" not in inspect.signature(plugin).parameters:
        return Choice("none")
    with suppress(PluginError), torch.device("meta"):
        build_attention(choice, site)
        return choice
    if "ta" not in ATTENTION.names():
        return Choice("none")
    shared = inspect.signature(ATTENTION.get("ta")).parameters
    return Choice("ta", tuple((key, value) for key, value in choice.options if key in shared))
