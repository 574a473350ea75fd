"""A convolution that works for its active inputs alone.

The plain twin is ``torch.nn.functional.conv2d``: the same sums in another order, so results differ by rounding. An
input is active where it is not 0, whatever its value; others add nothing, whatever their weights (torch's 0 · ∞ is no
number). A fully connected layer is a convolution of one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from quietspike.core.kernels.threads import over_parts

Array: TypeAlias = npt.NDArray[Any]
Pair: TypeAlias = tuple[int, int]

BANDS = 4
"""That a thread gets at least, where there are rows enough: a quiet one's share is then like a loud one's."""

TYPES = (torch.float32, torch.float64)
"""Of numbers that the kernel is for."""


@dataclass(frozen=True)
class Rows:
    """A convolution as the kernel reads it.

    Args:
        weights: for each input of a neighbourhood a row with one number an output, [kh·kw·C_in, C_out].
        bias: [C_out].
        kernel: kh, kw.
        stride: of y and x.
        padding: zeros on each side of y and x.
    """

    weights: Array
    bias: Array
    kernel: Pair
    stride: Pair
    padding: Pair

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, stride: Pair = (1, 1), padding: Pair = (0, 0)) -> Rows:
        """From weights [C_out, C_in, kh, kw]."""
        out, _, height, width = weight.shape
        rows = weight.detach().permute(2, 3, 1, 0).flatten(0, 2).clone(memory_format=torch.contiguous_format)
        start = torch.zeros(out, dtype=rows.dtype) if bias is None else bias.detach().clone()
        return cls(rows.numpy(), start.numpy(), (height, width), stride, padding)


def gather(x: Tensor, rows: Rows) -> Tensor:
    """A convolution over what is active.

    Args:
        x: frames, of one of ``TYPES`` and that of the weights.
        rows: the convolution.

    Shape:
        [N, C_in, H, W] → [N, C_out, H', W'], channels last.
    """
    from quietspike.core.kernels import events_cpu  # numba takes half a second to import

    seen: Array = x.detach().permute(0, 2, 3, 1).contiguous().numpy()
    frames = len(seen)
    height, width = (
        (size + 2 * pad - extent) // step + 1
        for size, pad, extent, step in zip(seen.shape[1:3], rows.padding, rows.kernel, rows.stride, strict=True)
    )
    out = torch.empty((frames, height, width, len(rows.bias)), dtype=x.dtype)
    lanes = torch.get_num_threads()
    band = max(1, min(height, frames * height // (BANDS * lanes)))
    arguments = seen, rows.weights, rows.bias, out.numpy(), rows.kernel, rows.stride, rows.padding, band

    def run(first: int, last: int) -> None:
        for lane in range(first, last):
            events_cpu.gather(*arguments, lane, lanes)

    over_parts(run, lanes, 1)
    return out.permute(0, 3, 1, 2)
