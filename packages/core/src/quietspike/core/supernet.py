"""One network that holds every candidate at every searched site, so that one training serves all placements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from quietspike.core.checks import check_between, check_whole
from quietspike.core.choice import Choice
from quietspike.core.contracts import AttentionMacs, EventDataset, Site
from quietspike.core.errors import OptionError, unknown_name
from quietspike.core.layers import Attend
from quietspike.core.networks import build_network
from quietspike.core.placement import Placement, build_attention
from quietspike.core.tallies import attention_macs

NONE = Choice("none")


class Candidates(nn.Module):
    """All candidates of one site, of which one acts.

    Args:
        site: where they stand.
        choices: the candidates; ``none`` is no attention.

    Shape:
        that of the site → the same.
    """

    def __init__(self, site: Site, choices: Sequence[Choice]) -> None:
        super().__init__()
        self.site = site
        self.choices = tuple(choices)
        self.candidates = nn.ModuleList(nn.Identity() if c == NONE else build_attention(c, site) for c in choices)
        self.chosen = 0

    def choose(self, choice: Choice) -> None:
        """Let this candidate act.

        Raises:
            UnknownNameError: if it is none of them.
        """
        if choice not in self.choices:
            raise unknown_name(f"supernet: {self.site.name}", choice.label, [c.label for c in self.choices])
        self.chosen = self.choices.index(choice)

    @property
    def acting(self) -> nn.Module:
        """The candidate that acts."""
        return self.candidates[self.chosen]

    def forward(self, x: Tensor) -> Tensor:
        """What the acting candidate makes of it."""
        out: Tensor = self.acting(x)
        return out

    def macs(self, shape: tuple[int, ...]) -> AttentionMacs:
        """Those of the acting candidate alone."""
        return AttentionMacs(0, 0) if isinstance(self.acting, nn.Identity) else attention_macs(self.acting, shape)


class Supernet(nn.Module):
    """A backbone with ``Candidates`` at its searched sites; in training, each batch runs through placements drawn anew.

    A batch is cut into ``parts``, each with a placement of its own. With probability ``uniform`` that is one of the
    ``kept`` ones, else the next of a deck: as many placements as a site has candidates, in which each candidate of a
    site comes once, in an order of the site's own. Everything is drawn from torch's generator, and the deck is dealt
    anew when an epoch begins (``train()``), so ``training.train`` goes on from a checkpoint to bitwise the same end.
    In evaluation mode the first of the kept placements stands, or the first candidate everywhere.

    Args:
        network: a backbone that was built with ``Candidates`` in its ``Attend`` layers.
        kept: placements that are kept alive, as the uniform ones.
        uniform: the probability of one of them.
        parts: placements a step; at most half as many as a batch has samples.

    Shape:
        [T, B, C, H, W] → [B, classes].

    Raises:
        OptionError: for a share outside of 0..1, or parts below 1.

    Source:
        Guo et al. 2020, Single Path One-Shot Neural Architecture Search (one placement a step, drawn uniformly); Chu et
        al. 2021, FairNAS, Algorithm 1 (each candidate as often as any other). Differs from the latter: weights are
        updated after each placement, not after a round of them; sites may have different numbers of candidates; some
        steps go to the placements that are kept.
    """

    def __init__(
        self, network: nn.Module, kept: Sequence[Placement] = (), uniform: float = 0.0, parts: int = 1
    ) -> None:
        super().__init__()
        check_between(0, 1, uniform=uniform)
        check_whole(parts=parts)
        self.network = network
        self.kept = tuple(kept)
        self.uniform = uniform if kept else 0.0
        self.parts = parts
        self._attends = {
            module.site.name: (module, module.module)
            for module in network.modules()
            if isinstance(module, Attend) and isinstance(module.module, Candidates)
        }
        self._deck: list[Placement] = []
        first = Placement({site: choices[0] for site, choices in self.choices.items()})
        self.shown = self.kept[0] if kept else first
        for placement in self.kept:
            self.choose(placement)

    @property
    def choices(self) -> dict[str, tuple[Choice, ...]]:
        """Candidates by the name of each searched site."""
        return {site: candidates.choices for site, (_, candidates) in self._attends.items()}

    def choose(self, placement: Placement) -> None:
        """Let the candidates of a placement act; ``none`` where it says nothing.

        Raises:
            UnknownNameError: for a site that is not searched, or a choice that is no candidate there.
        """
        placement.check([candidates.site for _, candidates in self._attends.values()])
        for site, (_, candidates) in self._attends.items():
            candidates.choose(placement.get(site, NONE))

    @contextmanager
    def standing(self, placement: Placement) -> Iterator[nn.Module]:
        """The network of one placement with the shared weights: for a while it holds nothing else.

        Its state fits the network that ``build_network`` makes of that placement, and all that runs over networks (the
        cost meter, ``evaluate``) sees what it would see there.
        """
        self.choose(placement)
        try:
            for attend, candidates in self._attends.values():
                attend.module = candidates.acting
            yield self.network
        finally:
            for attend, candidates in self._attends.values():
                attend.module = candidates

    def train(self, mode: bool = True) -> Self:
        """As of any module; the deck is dealt anew."""
        self._deck = []
        return super().train(mode)

    def forward(self, frames: Tensor) -> Tensor:
        """Class scores."""
        if not self.training:
            self.choose(self.shown)
            shown: Tensor = self.network(frames)
            return shown
        scores = []
        for part in frames.tensor_split(max(1, min(self.parts, frames.shape[1] // 2)), dim=1):
            self.choose(self._draw())
            scores.append(self.network(part))
        return torch.cat(scores)

    def _draw(self) -> Placement:
        if self.uniform and float(torch.rand(())) < self.uniform:
            return self.kept[int(torch.randint(len(self.kept), ()))]
        if not self._deck:
            self._deck = self._deal()
        return self._deck.pop()

    def _deal(self) -> list[Placement]:
        """As many placements as the longest list of candidates; shorter lists come several times, the last one cut."""
        longest = max((len(choices) for choices in self.choices.values()), default=1)
        orders = {}
        for site, choices in self.choices.items():
            rounds = [torch.randperm(len(choices)) for _ in range(-(-longest // len(choices)))]
            orders[site] = [choices[index] for index in torch.cat(rounds)[:longest].tolist()]
        return [Placement({site: order[turn] for site, order in orders.items()}) for turn in range(longest)]


def build_supernet(
    backbone: Mapping[str, Any],
    neuron: Mapping[str, Any] | None,
    choices: Mapping[str, Sequence[Choice]],
    dataset: EventDataset,
    seed: int,
    **options: Any,
) -> Supernet:
    """A fresh supernet; equal arguments give bitwise equal weights.

    Args:
        backbone: ``name`` and options.
        neuron: ``name`` and options; the backbone's own where ``None``.
        choices: candidates by site; other sites have no attention.
        dataset: gives input shape, steps and classes.
        seed: of the initial weights.
        options: of ``Supernet``.

    Raises:
        QuietspikeError: for a name, option or site that does not exist.
        OptionError: if the backbone keeps its attention outside of ``Attend`` layers.
    """

    def place(site: Site) -> nn.Module:
        return Candidates(site, choices[site.name]) if site.name in choices else nn.Identity()

    supernet = Supernet(build_network(backbone, neuron, place, dataset, seed), **options)
    for site in choices:
        if site not in supernet.choices:
            raise OptionError(f"supernet: {site}: the backbone has no such site, or keeps it outside of Attend layers")
    return supernet
