"""Weights of the authors' own code, into the modules here.

MA-SNN:   {ta,ca}.sharedMLP.0.weight [n/r, n, 1, …]   {ta,ca}.sharedMLP.2.weight [n, n/r, 1, …]   sa.conv.weight
ASA-SNN:  alpha   beta   fc.weight (reduction 1) or fc.0.weight, fc.2.weight   conv1.weight   conv2.weight
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quietspike.attention.asa import ASA
from quietspike.attention.joint import MultiDimensionalAttention
from quietspike.core import CheckpointError
from quietspike.core.errors import unknown_name

Weights: TypeAlias = Mapping[str, Tensor | NDArray[np.generic]]

_MA_SNN = {
    "ta.sharedMLP.0.weight": "temporal.mlp.squeeze.weight",
    "ta.sharedMLP.2.weight": "temporal.mlp.expand.weight",
    "ca.sharedMLP.0.weight": "channel.mlp.squeeze.weight",
    "ca.sharedMLP.2.weight": "channel.mlp.expand.weight",
    "sa.conv.weight": "spatial.conv.weight",
}
_ASA_SNN = {
    "alpha": "selection.alpha",
    "beta": "selection.beta",
    "fc.weight": "selection.mix",
    "fc.0.weight": "selection.squeeze",
    "fc.2.weight": "selection.expand",
    "conv1.weight": "conv_important.weight",
    "conv2.weight": "conv_rest.weight",
}


def load(module: nn.Module, weights: Weights) -> None:
    """Give a module the weights of the same attention in the authors' code; all of them or, on an error, none.

    Args:
        module: what ``ta`` … ``tcsa`` or ``ASA`` built.
        weights: the state dict of the authors' module, by its own names.

    Raises:
        CheckpointError: if a name is missing or left over, or a shape is another; names the key and the nearest one.
    """
    names = {MultiDimensionalAttention: _MA_SNN, ASA: _ASA_SNN}.get(type(module))
    if names is None:
        raise CheckpointError(
            f"weights of MA-SNN and ASA-SNN belong to their attention, not to {type(module).__name__}"
        )
    own = module.state_dict()
    wanted = {theirs: own[ours] for theirs, ours in names.items() if ours in own}
    if missing := sorted(wanted.keys() - weights.keys()):
        raise CheckpointError(str(unknown_name("weights", missing[0], weights)))
    if left_over := sorted(weights.keys() - wanted.keys()):
        raise CheckpointError(str(unknown_name("module", left_over[0], wanted)))
    given = {name: _same_shape(name, weights[name], target) for name, target in wanted.items()}
    with torch.no_grad():
        for name, target in wanted.items():
            target.copy_(given[name])


def _same_shape(name: str, value: Tensor | NDArray[np.generic], target: Tensor) -> Tensor:
    """Their linear layers are convolutions of size 1: the same numbers, with dimensions of 1 at the end."""
    tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
    if tensor.shape != target.shape + (1,) * (tensor.ndim - target.ndim):
        raise CheckpointError(f"weights: {name!r} is {list(tensor.shape)}, expected {list(target.shape)}")
    return tensor.reshape(target.shape)
