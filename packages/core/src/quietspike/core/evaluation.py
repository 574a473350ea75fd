"""Accuracy, loss and cost of a network on a split, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietspike.core.cost import Cost
from quietspike.core.errors import DataError
from quietspike.core.metering import CostMeter
from quietspike.core.modes import evaluating
from quietspike.core.recipe import Recipe


@dataclass(frozen=True)
class Evaluation:
    """What a split shows of a network.

    Args:
        loss: mean over the samples.
        accuracy: share of samples whose highest score is their class, 0..1.
        cost: mean cost of a sample.
    """

    loss: float
    accuracy: float
    cost: Cost


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe, device: torch.device
) -> Evaluation:
    """Run a network over batches in evaluation mode; afterwards each of its modules is in the mode that it was in.

    Raises:
        DataError: if there is no batch.
    """
    loss, right, count = 0.0, 0, 0
    with evaluating(network), CostMeter(network) as meter:
        for frames, labels in batches:
            frames, labels = frames.to(device), labels.to(device)
            scores = network(frames)
            loss += float(recipe.loss_of(scores, labels)) * len(labels)
            right += int((scores.argmax(1) == labels).sum())
            count += len(labels)
    if count == 0:
        raise DataError("there is no sample to evaluate on")
    return Evaluation(loss / count, right / count, meter.cost())
