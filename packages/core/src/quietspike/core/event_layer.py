"""A layer of synapses that works for its active inputs alone, where that is faster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from quietspike.core.folding import Chain, Synapses
from quietspike.core.kernels import events, fused

LEAST_MACS = 2**22
"""Of a call that is measured; a smaller one is over before that would pay, and stays dense."""

SHARE = 8
"""Every so manieth frame of a convolution's batch is measured, so that early and late steps are seen."""

ROUNDS = 2
"""Of a measurement, in which both ways take turns; the best of each counts."""

Way: TypeAlias = Callable[[Tensor], Tensor]


class EventLayer:
    """A convolution or fully connected layer while its network runs event-driven.

    Args:
        module: the layer.
        in_a_row: whether a convolution may wait for what follows it, and take that in.
        measure: whether it is event-driven only where that was measured to be faster; else wherever it can be.

    Attributes:
        chosen: whether it is event-driven; ``None`` before that is known.
    """

    def __init__(self, module: nn.Module, *, in_a_row: bool, measure: bool) -> None:
        self.module = module
        self.in_a_row = in_a_row
        self.measure = measure
        self.chosen: bool | None = None
        self._laid_out: dict[object, tuple[Chain, object, events.Rows]] = {}

    def takes(self, x: Tensor, weight: Tensor, places: int) -> bool:
        """Whether it may be event-driven on x, whose result has so many places."""
        if self.chosen is False or self.module.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        if self.measure and self.chosen is None and places * weight.numel() < LEAST_MACS:
            return False
        return x.dtype == weight.dtype and x.dtype in events.TYPES and x.device == weight.device and fused(x)

    def convolve(self, x: Tensor, chain: Chain) -> Tensor:
        """The result of a convolution and of what follows it."""
        return self._choose(lambda x: self._gather(x, chain), chain.dense, x)

    def connect(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The result of a fully connected layer."""
        chain = Chain(Synapses(weight[..., None, None], bias, (1, 1), (0, 0)))

        def gather(x: Tensor) -> Tensor:
            return self._gather(x.reshape(-1, x.shape[-1], 1, 1), chain).reshape(*x.shape[:-1], len(weight))

        return self._choose(gather, lambda x: functional.linear(x, weight, bias), x)

    def _choose(self, gather: Way, dense: Way, x: Tensor) -> Tensor:
        """The faster way's result; the first call says which it is."""
        if self.chosen is None:
            self.chosen = not self.measure or is_faster(gather, dense, sample(x))
        return gather(x) if self.chosen else dense(x)

    def _gather(self, x: Tensor, chain: Chain) -> Tensor:
        """A chain's result from its active inputs; its weights are laid out anew where they have changed."""
        kind, versions = (chain.norm is None, chain.pool), list(chain.versions())
        if kind not in self._laid_out or self._laid_out[kind][1] != versions:
            folded = chain.folded()
            rows = events.Rows.of(folded.weight, folded.bias, folded.stride, folded.padding)
            self._laid_out[kind] = chain, versions, rows
        return events.gather(x, self._laid_out[kind][2])


def is_faster(one: Way, other: Way, x: Tensor) -> bool:
    """Whether one way took less time on x than the other."""
    best = [math.inf, math.inf]
    for _ in range(ROUNDS):
        for number, way in enumerate((one, other)):
            start = time.perf_counter()
            way(x)
            best[number] = min(best[number], time.perf_counter() - start)
    return best[0] < best[1]


def sample(x: Tensor) -> Tensor:
    """Some of a convolution's frames [N, C, H, W], as they lie in memory; all rows of other tensors."""
    if x.dim() != 4 or len(x) < 2 * SHARE:  # how fast a product of matrices is depends on how many rows it has
        return x
    last = x.is_contiguous(memory_format=torch.channels_last)
    return x[::SHARE].contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
