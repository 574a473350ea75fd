"""All analyses of a trained network on one split, gathered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from torch.utils.data import Subset

from quietspike.core import OptionError, Placement
from quietspike.core.analyses import (
    Activity,
    Distribution,
    GradientNorm,
    Isometry,
    NoiseShare,
    NoiseSpikes,
    Similarity,
    SpikeMaps,
    SpikingActivity,
    SpikingResponses,
    block_isometry,
    gradient_norms,
    neuron_layers,
    potential_distributions,
    watch,
)
from quietspike.core.batches import Batches
from quietspike.core.contracts import FrameSplit, SplitName
from quietspike.core.errors import unknown_name
from quietspike.search.opening import OpenedWeights

SHOWN_SAMPLES = 3
"""Samples whose own spike maps are kept."""

ISOMETRY_SAMPLES, PROBES = 16, 8
"""A sample costs so many backward passes a block; the standard error says how much more would help."""

GRADIENT_SAMPLES = 64
"""Enough for a mean; backward keeps what all layers did of a batch."""

LONGEST = 130
"""Characters of a placement in a title: two lines of a small figure."""


@dataclass(frozen=True)
class Analysis:
    """What the papers look at, of one network on one split.

    Args:
        title: placement, in short where it is long, and split.
        layer: whose neurons are shown one by one.
        steps: at which of its steps, from 0.
        maps: mean spike maps.
        responses: the firing rate of every neuron.
        activity: NSAR over t.
        potentials: distributions, before and after attention.
        step_similarity: [T, T] by layer.
        channel_similarity: [C, C] by layer.
        noise: spikes in the background.
        isometry: of each block; none of a network whose blocks cannot be told.
        gradients: of each block; none of such a network.
        notes: what could not be measured, and why.
    """

    title: str
    layer: str
    steps: tuple[int, ...]
    maps: SpikeMaps
    responses: SpikingResponses
    activity: dict[str, Activity]
    potentials: list[Distribution]
    step_similarity: dict[str, Tensor]
    channel_similarity: dict[str, Tensor]
    noise: dict[str, NoiseShare]
    isometry: list[Isometry]
    gradients: list[GradientNorm]
    notes: tuple[str, ...] = ()


def analyse_network(
    weights: OpenedWeights, split: SplitName, *, layer: str | None = None, step: int | None = None
) -> Analysis:
    """Run all analyses; nothing that is kept grows with the split.

    Block isometry is measured on some samples and gradient norms on more, evenly spaced over the split.

    Args:
        weights: the network and its data.
        split: which samples.
        layer: a neuron layer, whose neurons are shown one by one; the first where ``None``.
        step: which of its steps, from 1; the first, the middle and the last where ``None``.

    Raises:
        QuietspikeError: for a layer or step that there is not, or a split without samples.
    """
    network, device, recipe = weights.network, weights.device, weights.experiment.train
    layers = [name for name, _ in neuron_layers(network)]
    if layer is not None and layer not in layers:
        raise unknown_name("--layer", layer, layers)
    last = weights.dataset.steps
    if step is not None and not 1 <= step <= last:
        raise OptionError(f"--step={step}: must lie in 1..{last}")
    samples = _at_first_epoch(weights.dataset.split(split))

    def batches(count: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = samples if count is None else _some(samples, count)
        return Batches(chosen, recipe.batch_size).epoch()

    maps, responses, activity = SpikeMaps(evenly(len(samples), SHOWN_SAMPLES)), SpikingResponses(), SpikingActivity()
    similarity, noise = Similarity(), NoiseSpikes()
    watch(network, batches(), [maps, responses, activity, similarity, noise], device)
    notes: list[str] = []
    isometry: list[Isometry] = []
    gradients: list[GradientNorm] = []
    try:
        isometry = block_isometry(network, batches(ISOMETRY_SAMPLES), probes=PROBES, device=device)
        gradients = gradient_norms(network, batches(GRADIENT_SAMPLES), recipe.loss_of, device=device)
    except OptionError as error:  # the rest is worth having
        notes.append(f"No gradients by depth: {error}")
    return Analysis(
        title=f"{_summary(weights.placement)} ({split})",
        layer=layer or responses.layers[0],
        steps=tuple(dict.fromkeys((0, last // 2, last - 1))) if step is None else (step - 1,),
        maps=maps,
        responses=responses,
        activity=activity.rows,
        potentials=potential_distributions(network, batches(), device),
        step_similarity=similarity.steps,
        channel_similarity=similarity.channels,
        noise=noise.rows,
        isometry=isometry,
        gradients=gradients,
        notes=tuple(notes),
    )


def _at_first_epoch(split: FrameSplit) -> FrameSplit:
    """A split that differs between epochs, as it is in the first."""
    at_epoch: Any = getattr(split, "at_epoch", None)
    return split if at_epoch is None else cast(FrameSplit, at_epoch(0, 0))


def _some(split: FrameSplit, count: int) -> FrameSplit:
    return Subset(cast(Any, split), evenly(len(split), count))


def evenly(length: int, count: int) -> list[int]:
    """So many indices, evenly spaced, the first and the last among them; all where there are no more."""
    if length <= count:
        return list(range(length))
    return [round(index * (length - 1) / max(count - 1, 1)) for index in range(count)]


def _summary(placement: Placement) -> str:
    """Its label where that is short, else which attention stands how often, else how much there is at all."""
    if len(placement.label) <= LONGEST:
        return placement.label
    signals = {site: site.rpartition(".")[2] for site in placement}
    for names in (
        {site: choice.label for site, choice in placement.items()},
        {s: c.name for s, c in placement.items()},
    ):
        counts = Counter((names[site], signals[site]) for site in placement)
        parts = [f"{name} at {_sites(number, signal)}" for (name, signal), number in counts.items()]
        if len(" · ".join(parts)) <= LONGEST:
            return " · ".join(parts)
    return f"attention at {_sites(len(placement), 'current')}"


def _sites(number: int, signal: str) -> str:
    kind = "" if signal == "current" else f"{signal} "
    return f"{number} {kind}site{'' if number == 1 else 's'}"
