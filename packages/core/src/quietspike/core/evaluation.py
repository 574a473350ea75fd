"""Accuracy, loss and cost of a network on a split, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietspike.core.cost import Cost
from quietspike.core.errors import DataError
from quietspike.core.kernels.memory import keep_freed_memory
from quietspike.core.metering import CostMeter
from quietspike.core.modes import evaluating
from quietspike.core.recipe import Recipe
from quietspike.core.voting import ONE_CLIP, Voting


@dataclass(frozen=True)
class Evaluation:
    """What a split shows of a network.

    Args:
        loss: mean over the samples, and over a sample's clips.
        accuracy: share of samples whose highest score is their class, 0..1; of samples of several clips, by their vote.
        cost: mean cost of a sample, and of a sample's clips.
    """

    loss: float
    accuracy: float
    cost: Cost


@torch.no_grad()
def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    recipe: Recipe,
    device: torch.device,
    voting: Voting = ONE_CLIP,
    *,
    images: bool = False,
    meter: CostMeter | None = None,
) -> Evaluation:
    """Run a network over batches in evaluation mode; afterwards each of its modules is in the mode that it was in.

    Args:
        network: a backbone.
        batches: frames and classes.
        recipe: its loss and precision.
        device: where the network is.
        voting: how the clips of a sample decide on it.
        images: whether frames are still images, as for ``CostMeter``.
        meter: what counts, for those who have a hand in it; a ``CostMeter`` of the network where ``None``.

    Raises:
        DataError: if there is no batch.
    """
    if device.type == "cpu":
        keep_freed_memory()
    loss, count = 0.0, 0
    clips: list[tuple[Tensor, Tensor]] = []
    with evaluating(network), meter or CostMeter(network, images=images) as meter:
        for frames, labels in batches:
            frames, labels = frames.to(device), labels.to(device)
            scores = recipe.run(network, frames)
            loss += float(recipe.loss_of(scores, labels)) * len(labels)
            clips.append((scores.cpu(), labels.cpu()))
            count += len(labels)
    if count == 0:
        raise DataError("there is no sample to evaluate on")
    scores, labels = (torch.cat(column) for column in zip(*clips, strict=True))
    right = voting.count_right(scores, labels)
    return Evaluation(loss / count, right * voting.clips / count, meter.cost())
