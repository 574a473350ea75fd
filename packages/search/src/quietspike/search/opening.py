"""Trained weights, opened: the network that they belong to, with its experiment and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from quietspike.core import CheckpointError, Placement
from quietspike.core.contracts import EventDataset
from quietspike.core.networks import build_network
from quietspike.core.training import resolve_device
from quietspike.core.weights import load_tensors, load_weights
from quietspike.search.config import Experiment, check_experiment
from quietspike.search.data import open_dataset
from quietspike.search.reading import override

RECORD = {"experiment": dict, "placement": dict, "seed": int}
"""What a weights file says of its network."""


@dataclass(frozen=True)
class OpenedWeights:
    """A trained network, and what it was trained on.

    Args:
        experiment: that of the weights, with what has been overridden.
        placement: which attention stands where.
        dataset: the experiment's.
        network: with the weights, on the device.
        device: the experiment's.
    """

    experiment: Experiment
    placement: Placement
    dataset: EventDataset
    network: nn.Module
    device: torch.device


def open_weights(path: Path, overrides: Sequence[str] = ()) -> OpenedWeights:
    """Build the network that a weights file belongs to, with its weights.

    Args:
        path: what a training or a search left.
        overrides: keys of the experiment, as in ``--dataset.root``; the data may lie elsewhere now.

    Raises:
        QuietspikeError: if the file is damaged, no weights of quietspike, or does not fit its own record.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; name its weights.safetensors")
    tensors, record = load_tensors(path)
    if "rows" in record:  # of what core's training goes on from
        raise CheckpointError(f"{path}: is a checkpoint of a training that has not ended; the same command goes on")
    if not all(isinstance(record.get(key), kind) for key, kind in RECORD.items()):
        raise CheckpointError(f"{path}: does not say which network it belongs to; not written by quietspike")
    experiment = check_experiment(override(record["experiment"], overrides))
    dataset, placement = open_dataset(experiment), Placement(record["placement"])
    network = build_network(*experiment.network, placement, dataset, record["seed"])
    load_weights(network, tensors, str(path))
    device = resolve_device(experiment.device)
    return OpenedWeights(experiment, placement, dataset, network.to(device), device)
