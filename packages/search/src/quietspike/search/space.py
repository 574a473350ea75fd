"""The search space: one choice of attention for each site."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution

from quietspike.core import Choice, OptionError, Placement, Site
from quietspike.core.errors import unknown_name
from quietspike.core.networks import find_sites
from quietspike.core.placement import build_attention, fit_to_site
from quietspike.search.config import Experiment, expand_candidates
from quietspike.search.data import open_dataset
from quietspike.search.design import Design


@dataclass(frozen=True)
class Space:
    """Sites × candidates.

    Args:
        sites: all sites of the backbone.
        choices: by the name of each searched site, its candidates; fully connected sites take the temporal part of
            each candidate.
        uniform: the placements that have one candidate everywhere, none at the sites that are not searched.
    """

    sites: tuple[Site, ...]
    choices: Mapping[str, tuple[Choice, ...]]
    uniform: Mapping[str, Placement]

    @property
    def size(self) -> int:
        """How many placements there are."""
        return math.prod(len(choices) for choices in self.choices.values())

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """For Optuna: labels by site."""
        return {site: CategoricalDistribution([c.label for c in choices]) for site, choices in self.choices.items()}

    def placement(self, labels: Mapping[str, str]) -> Placement:
        """The placement of Optuna's parameters."""
        return Placement(
            {site: next(c for c in choices if c.label == labels[site]) for site, choices in self.choices.items()}
        )

    def labels(self, placement: Placement) -> dict[str, str]:
        """Optuna's parameters of a placement: a label for each searched site, ``none`` included."""
        return {site: placement[site].label if site in placement else "none" for site in self.choices}

    def design(self, params: Mapping[str, str]) -> Design:
        """The design of Optuna's parameters."""
        return Design(self.placement(params))

    def params(self, design: Design) -> dict[str, str]:
        """Optuna's parameters of a design."""
        return self.labels(design.placement)

    def shuffled(self, seed: int, count: int) -> Iterator[Design]:
        """Designs in a random order without repetition, ``count`` of them where there are as many.

        A larger count goes on behind the same beginning.
        """
        for index in _shuffled_range(self.size, min(count, self.size), random.Random(seed)):
            chosen = {}
            for site, choices in self.choices.items():
                index, which = divmod(index, len(choices))
                chosen[site] = choices[which]
            yield Design(Placement(chosen))


def open_space(experiment: Experiment) -> Space:
    """The space of an experiment; each candidate has been built once at each site that it may take.

    Raises:
        QuietspikeError: for an attention that is not installed, a bad option, a pattern without a site.
    """
    sites = find_sites(*experiment.network, open_dataset(experiment))
    candidates = expand_candidates(experiment.search.candidates)
    if not candidates:
        raise OptionError("search.candidates: empty; there is nothing to choose from")
    searched = _matching(sites, experiment.search.sites)
    choices = {site.name: tuple(dict.fromkeys(fit_to_site(c, site) for c in candidates)) for site in searched}
    with torch.device("meta"):
        for site in searched:
            for choice in choices[site.name]:
                build_attention(choice, site)
    uniform = {choice.label: uniform_placement(choice, searched) for choice in candidates}
    return Space(tuple(sites), choices, uniform)


def uniform_placement(choice: Choice, searched: list[Site]) -> Placement:
    """The same attention at every searched site."""
    return Placement({site.name: fit_to_site(choice, site) for site in searched})


def _shuffled_range(size: int, count: int, generator: random.Random) -> Iterator[int]:
    """The first ``count`` of a shuffled ``range(size)``: Fisher and Yates, storing only what was moved."""
    moved: dict[int, int] = {}
    for last in range(size - 1, size - 1 - count, -1):
        drawn = generator.randrange(last + 1)
        yield moved.get(drawn, drawn)
        moved[drawn] = moved.get(last, last)


def _matching(sites: list[Site], patterns: tuple[str, ...]) -> list[Site]:
    if not patterns:
        raise OptionError("search.sites: empty; there is nothing to search")
    known = dict.fromkeys([*(site.name for site in sites), *(f"*.{site.signal}" for site in sites)])
    for pattern in patterns:
        if not any(fnmatchcase(site.name, pattern) for site in sites):
            raise unknown_name("search.sites", pattern, known)
    return [site for site in sites if any(fnmatchcase(site.name, pattern) for pattern in patterns)]
