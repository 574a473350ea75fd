"""Counts of spikes and of active inputs.

The plain twins are torch's comparisons, several passes with a mask between; the numbers are equal.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from quietspike.core.kernels import fused
from quietspike.core.kernels.memory import HALVES, as_array, as_rows, dense
from quietspike.core.kernels.threads import over_parts

PART = 2**16
"""Numbers that are counted at once."""


def count_steps(x: Tensor) -> Tensor:
    """How many numbers of each step are not 0.

    Shape:
        [T, B, ...] → [T], int64.
    """
    if not fused(x):
        return x.count_nonzero(dim=tuple(range(1, x.dim())))
    from quietspike.core.kernels import counting_cpu as kernels  # numba takes half a second to import

    rows = as_rows(dense(x.detach()))
    parts = -(-rows.shape[1] // PART)
    found = np.zeros((len(rows) * parts, 2), np.int64)
    over_parts(lambda start, stop: kernels.count(rows, PART, found, start, stop), len(found), 1)
    return torch.from_numpy(found[:, 0].reshape(len(rows), parts).sum(1))


def count_inputs(x: Tensor, fan_out: Tensor | int) -> tuple[Tensor, Tensor, Tensor]:
    """What synapses do for their inputs.

    Args:
        x: [N, C, H, W], or of any shape where the fan-out is one number.
        fan_out: weights that an input meets, at each place [H, W] or everywhere.

    Returns:
        How many inputs are not 0, the sum of their fan-outs, and whether one is neither 0 nor 1.
    """
    if not fused(x):
        active = x != 0
        graded = (active & (x != 1)).any()
        if isinstance(fan_out, int):
            return active.sum(), active.sum() * fan_out, graded
        return active.sum(), (active.sum((0, 1)) * fan_out).sum(), graded
    from quietspike.core.kernels import counting_cpu as kernels

    x = x.detach().float() if x.dtype in HALVES[:1] else x.detach()
    if isinstance(fan_out, int):
        rows = as_array(x.contiguous().reshape(1, -1))
        found = np.zeros((-(-rows.shape[1] // PART), 2), np.int64)
        over_parts(lambda start, stop: kernels.count(rows, PART, found, start, stop), len(found), 1)
        active, graded = found.sum(0)
        operations = active * fan_out
    else:
        frames = as_array(x.permute(0, 2, 3, 1).contiguous().flatten(1, 2))
        weights = fan_out.flatten().numpy()
        found = np.zeros((len(frames), 3), np.int64)
        over_parts(lambda start, stop: kernels.count_weighed(frames, weights, found, start, stop), len(frames), 1)
        active, graded, operations = found.sum(0)
    return torch.tensor(int(active)), torch.tensor(int(operations)), torch.tensor(bool(graded))
