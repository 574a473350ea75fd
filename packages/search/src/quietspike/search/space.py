"""The search space: one choice of attention for each site, and a value for each setting."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import Trial

from quietspike.core import Choice, OptionError, Placement, Site
from quietspike.core.placement import fit_to_site
from quietspike.search.candidates import expand_candidates
from quietspike.search.cases import Case, Survey, own_values, survey_cases
from quietspike.search.config import Experiment
from quietspike.search.design import Design
from quietspike.search.lots import draw_value, shuffled_range
from quietspike.search.setting import as_text, suggest
from quietspike.search.settings import Settings, param_name

NO_SETTINGS = Settings({})

STALE = 1000
"""An endless space is as good as drawn when so many draws in a row bring nothing new: six digits end somewhere."""


@dataclass(frozen=True)
class Space:
    """Sites × candidates × settings.

    Args:
        sites: all sites of the experiment's own backbone.
        choices: by the name of each searched site, its candidates; fully connected sites take the temporal part of
            each candidate. Of several networks, all that stand at the site in one of them.
        uniform: the placements of the experiment's own backbone that have one candidate everywhere, none at the sites
            that are not searched.
        settings: what is searched beside attention.
        cases: one for each network; where there is one network alone, none is needed.
        starts: by candidate, the uniform placements with settings of the space.
        own: whether the settings of ``starts`` are the experiment's own values.
    """

    sites: tuple[Site, ...]
    choices: Mapping[str, tuple[Choice, ...]]
    uniform: Mapping[str, Placement]
    settings: Settings = NO_SETTINGS
    cases: tuple[Case, ...] = ()
    starts: Mapping[str, Design] | None = None
    own: bool = True

    @cached_property
    def size(self) -> float:
        """How many designs there are: a whole number, or infinity."""
        return sum(self._sizes)

    @property
    def count(self) -> str:
        """The size for people."""
        size = "infinitely many" if math.isinf(self.size) else f"{self.size:,}"
        return f"{size} {'designs' if self.settings.by_key else 'placements'}"

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """For Optuna: settings, then labels by site."""
        settings = {param_name(key): setting.distribution for key, setting in self.settings.by_key.items()}
        sites = {site: CategoricalDistribution([c.label for c in choices]) for site, choices in self.choices.items()}
        return settings | sites

    def first(self) -> list[Design]:
        """One for each candidate: the same attention everywhere."""
        if self.starts is None:
            return [Design(placement) for placement in self.uniform.values()]
        return list(self.starts.values())

    def as_own(self, design: Design) -> Design:
        """The uniform placement with the experiment's own settings, where a design is that; else the design."""
        if self.starts is None or not self.own:
            return design
        return next((Design(self.uniform[label]) for label, start in self.starts.items() if start == design), design)

    def suggest(self, trial: Trial, *, whole: bool) -> Design:
        """What a sampler suggests.

        Args:
            trial: of the sampler.
            whole: ask also for what does not count, so that each trial has a value for everything.
        """
        params: dict[str, Any] = {}
        chosen: dict[str, Any] = {}
        for key, setting in self.settings.by_key.items():
            counts, name = self.settings.counts(key, chosen), param_name(key)
            if whole or counts:
                params[name] = suggest(trial, name, self.distributions[name])
            if counts:
                chosen[key] = setting.value(params[name])
        sites = self.choices if whole else self.case(chosen).choices
        params |= {site: suggest(trial, site, self.distributions[site]) for site in sites}
        return self.design(params)

    def design(self, params: Mapping[str, Any]) -> Design:
        """The design of Optuna's parameters; what does not count in it is left out."""
        chosen = self.settings.chosen(params)
        choices = self.case(chosen).choices
        return Design(Placement({site: self._standing(site, params[site], choices[site]) for site in choices}), chosen)

    def params(self, design: Design) -> dict[str, Any]:
        """Optuna's parameters of a design; where something does not count, its first value."""
        chosen, params = design.settings, {}
        for key, setting in self.settings.by_key.items():
            params[param_name(key)] = setting.param(chosen.get(key, setting.ends[0]))
        labels = {site: choices[0].label for site, choices in self.choices.items()}
        return params | labels | self.labels(design)

    def labels(self, design: Design) -> dict[str, str]:
        """A label for each searched site that the design's network has, ``none`` included."""
        placement = design.placement
        sites = self.case(design.settings).choices
        return {site: placement[site].label if site in placement else "none" for site in sites}

    def case(self, settings: Mapping[str, Any]) -> Case:
        """That of a design with such settings; of one with none in this space, what the own backbone has."""
        found = self._by_text.get(as_text({key: settings[key] for key in self.settings.branching if key in settings}))
        if found is None:
            names = {site.name for site in self.sites}
            return Case({}, {site: choices for site, choices in self.choices.items() if site in names})
        return found

    def shuffled(self, seed: int, count: int) -> Iterator[Design]:
        """Designs in a random order without repetition, ``count`` of them where there are as many.

        A larger count goes on behind the same beginning.
        """
        generator = random.Random(seed)
        if math.isinf(self.size):
            yield from self._drawn(generator, count)
            return
        for index in shuffled_range(int(self.size), min(count, int(self.size)), generator):
            yield self._numbered(index)

    def _numbered(self, index: int) -> Design:
        cases = iter(zip(self._all, self._sizes, strict=True))
        case, size = next(cases)
        while index >= size:
            index -= int(size)
            case, size = next(cases)
        placed = {}
        for site, choices in case.choices.items():
            index, which = divmod(index, len(choices))
            placed[site] = choices[which]
        chosen = dict(case.chosen)
        for key in case.leaves:
            values = self.settings.by_key[key].values or ()
            index, which = divmod(index, len(values))
            chosen[key] = values[which]
        return Design(Placement(placed), chosen)

    def _drawn(self, generator: random.Random, count: int) -> Iterator[Design]:
        seen: set[Design] = set()
        stale = 0
        while len(seen) < count and stale < STALE:
            case = generator.choice(self._all)
            placed = {site: generator.choice(choices) for site, choices in case.choices.items()}
            drawn = {key: draw_value(self.settings.by_key[key], generator) for key in case.leaves}
            design = Design(Placement(placed), {**case.chosen, **drawn})
            stale += 1
            if design not in seen:
                stale = 0
                seen.add(design)
                yield design

    def _standing(self, site: str, label: str, choices: tuple[Choice, ...]) -> Choice:
        """The choice of a label; where a network does not have it there, another one for each such label."""
        found = next((choice for choice in choices if choice.label == label), None)
        if found is not None:
            return found
        labels = [choice.label for choice in self.choices[site]]
        return choices[labels.index(label) % len(choices)]

    @property
    def _all(self) -> tuple[Case, ...]:
        return self.cases or (Case({}, self.choices),)

    @cached_property
    def _sizes(self) -> list[float]:
        placements = [math.prod(len(choices) for choices in case.choices.values()) for case in self._all]
        leaves = [self.settings.size(case.leaves) for case in self._all]
        return [number * size for number, size in zip(placements, leaves, strict=True)]

    @cached_property
    def _by_text(self) -> dict[str, Case]:
        return {as_text(dict(case.chosen)): case for case in self._all}


def open_space(experiment: Experiment) -> Space:
    """The space of an experiment; each candidate has been built once at each site that it may take.

    Raises:
        QuietspikeError: for an attention that is not installed, a bad option or setting, a pattern without a site.
    """
    candidates = expand_candidates(experiment.search.candidates)
    if not candidates:
        raise OptionError("search.candidates: empty; there is nothing to choose from")
    settings, survey = Settings.of(experiment.search.settings), Survey(experiment, candidates)
    sites = survey.sites_of({})
    if not settings.by_key:
        survey.check_patterns()
    own = survey.searched(sites)
    uniform = {choice.label: uniform_placement(choice, own) for choice in candidates}
    if not settings.by_key:
        return Space(tuple(sites), survey.choices_at(own), uniform)
    cases = survey_cases(settings, survey)
    survey.check_patterns()
    chosen, holds = own_values(experiment, settings)
    start = next(case for case in cases if case.chosen == {k: v for k, v in chosen.items() if k in case.chosen})
    starts = {c.label: Design(uniform_placement(c, start.searched), chosen) for c in candidates}
    return Space(tuple(sites), _union(cases), uniform, settings, tuple(cases), starts, holds)


def _union(cases: Sequence[Case]) -> dict[str, tuple[Choice, ...]]:
    """By site, all that stands there in one network or another."""
    union: dict[str, dict[Choice, None]] = {}
    for case in cases:
        for site, choices in case.choices.items():
            union.setdefault(site, {}).update(dict.fromkeys(choices))
    return {site: tuple(choices) for site, choices in union.items()}


def uniform_placement(choice: Choice, searched: Sequence[Site]) -> Placement:
    """The same attention at every searched site."""
    return Placement({site.name: fit_to_site(choice, site) for site in searched})
