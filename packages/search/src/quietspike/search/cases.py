"""The networks that a search may build: each is built once, without memory, before the first trial."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import torch

from quietspike.core import BACKBONES, DATASETS, NEURONS, Choice, OptionError, Placement, QuietspikeError, Site
from quietspike.core.errors import unknown_name
from quietspike.core.networks import find_sites
from quietspike.core.placement import build_attention, fit_to_site
from quietspike.core.registry import Registry
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.setting import as_text, spell
from quietspike.search.settings import MOST_CASES, Settings


@dataclass(frozen=True)
class Case:
    """The designs that share what decides on sites and on further settings.

    Args:
        chosen: the values of ``Settings.branching``, of those that count.
        choices: the candidates of each searched site that the network then has.
        leaves: the other settings that count.
        searched: those sites.
    """

    chosen: Mapping[str, Any]
    choices: Mapping[str, tuple[Choice, ...]]
    leaves: tuple[str, ...] = ()
    searched: tuple[Site, ...] = ()


class Survey:
    """Looks at each network once.

    Args:
        experiment: what is searched.
        candidates: for each site.
    """

    def __init__(self, experiment: Experiment, candidates: Sequence[Choice]) -> None:
        self.sites: dict[str, list[Site]] = {}
        self._experiment = experiment
        self._candidates = candidates
        self._built: set[tuple[Choice, Site]] = set()

    def sites_of(self, chosen: Mapping[str, Any]) -> list[Site]:
        """All sites of a network; it is built at most once.

        Raises:
            QuietspikeError: for settings that are refused; in the words of whatever refuses them.
        """
        changed = Design(Placement(), chosen).apply(self._experiment)
        text = as_text([changed.dataset.data, *changed.network])
        if text not in self.sites:
            self.sites[text] = find_sites(*changed.network, open_dataset(changed))
        return self.sites[text]

    def choices_at(self, sites: Sequence[Site]) -> dict[str, tuple[Choice, ...]]:
        """The candidates of each searched site; each has been built there."""
        choices = {}
        for site in sites:
            own = tuple(dict.fromkeys(fit_to_site(choice, site) for choice in self._candidates))
            with torch.device("meta"):
                for choice in own:
                    if (choice, site) not in self._built:
                        build_attention(choice, site)
                        self._built.add((choice, site))
            choices[site.name] = own
        return choices

    def searched(self, sites: Sequence[Site]) -> list[Site]:
        """Those that ``search.sites`` names."""
        patterns = self._experiment.search.sites
        return [site for site in sites if any(fnmatchcase(site.name, pattern) for pattern in patterns)]

    def check_patterns(self) -> None:
        """Refuse a pattern that no site of any network fits.

        Raises:
            UnknownNameError: naming the nearest site or pattern.
        """
        sites = [site for own in self.sites.values() for site in own]
        if not self._experiment.search.sites:
            raise OptionError("search.sites: empty; there is nothing to search")
        known = dict.fromkeys([*(site.name for site in sites), *(f"*.{site.signal}" for site in sites)])
        for pattern in self._experiment.search.sites:
            if not any(fnmatchcase(site.name, pattern) for site in sites):
                raise unknown_name("search.sites", pattern, known)


def survey_cases(settings: Settings, survey: Survey) -> list[Case]:
    """All networks of a space, after each value of each setting was tried by itself.

    Raises:
        QuietspikeError: naming the settings that are refused.
    """
    branches = list(islice(settings.branches(), MOST_CASES + 1))
    if len(branches) > MOST_CASES:
        keys = ", ".join(settings.branching)
        raise OptionError(f"search.settings: {keys}: have more than {MOST_CASES:,} combinations to look at")
    for key, setting in settings.by_key.items():
        if not any(key in chosen or key in settings.leaves(chosen) for chosen in branches):
            raise OptionError(f"search.settings.{key}.when: never holds")
        for value in setting.ends:
            _check_value(settings, survey, key, value)
    return [_case(chosen, settings, survey) for chosen in branches]


def _check_value(settings: Settings, survey: Survey, key: str, value: Any) -> None:
    """Refuse a value with which no network can be built, neither with the first of the other settings nor without."""
    chosen = settings.requiring(key, value)
    try:
        survey.sites_of(settings.completed(chosen))
    except QuietspikeError:
        with _naming({key: value}):
            survey.sites_of(chosen)


def _case(chosen: Mapping[str, Any], settings: Settings, survey: Survey) -> Case:
    with _naming(chosen):
        searched = survey.searched(survey.sites_of(settings.completed(chosen)))
        return Case(chosen, survey.choices_at(searched), settings.leaves(chosen), tuple(searched))


@contextmanager
def _naming(chosen: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except QuietspikeError as error:
        values = ", ".join(f"{key}={spell(value)}" for key, value in chosen.items())
        raise OptionError(f"search.settings: {values}: {error}") from None


def own_values(experiment: Experiment, settings: Settings) -> tuple[dict[str, Any], bool]:
    """The experiment's own values of those settings that count, and whether the space holds them all.

    Where it does not hold one, the space's first value is taken.
    """
    chosen: dict[str, Any] = {}
    own = True
    for key, setting in settings.by_key.items():
        if not settings.counts(key, chosen):
            continue
        value = _value_at(Design(Placement(), chosen).apply(experiment).data, key.split("."))
        holds = value is not _ABSENT and setting.holds(value)
        chosen[key] = setting.settle(value) if holds else setting.ends[0]
        own &= holds and chosen[key] == value
    return chosen, own


_ABSENT = object()
REGISTRIES: Mapping[str, Registry[Any]] = {"dataset": DATASETS, "backbone": BACKBONES, "neuron": NEURONS}


def _value_at(data: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value that stands there or, for a plugin's option that is not given, the plugin's own default."""
    head, *inner = path
    here: Any = data[head]
    for part in inner:
        if not isinstance(here, Mapping) or part not in here:
            break
        here = here[part]
    else:
        return here
    if head not in REGISTRIES or len(inner) != 1 or not isinstance(data[head], Mapping):
        return _ABSENT
    parameter = inspect.signature(REGISTRIES[head].get(data[head]["name"])).parameters.get(inner[0])
    if parameter is None or parameter.default is parameter.empty:
        return _ABSENT
    return list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
