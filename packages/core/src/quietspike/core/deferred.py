"""The result of a convolution that is computed once it is clear what follows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map

from quietspike.core.folding import Chain, Norm

DESCRIPTIONS = (
    Tensor.shape.__get__,  # type: ignore[attr-defined]
    Tensor.ndim.__get__,  # type: ignore[attr-defined]
    Tensor.dtype.__get__,  # type: ignore[attr-defined]
    Tensor.device.__get__,
    Tensor.requires_grad.__get__,  # type: ignore[attr-defined]
    Tensor.dim,
    Tensor.size,
    Tensor.numel,
    Tensor.is_floating_point,
)
"""What can be asked of a tensor without computing it."""


class Deferred(Tensor):
    """A tensor of the meta device that stands for a chain's result: it has a shape, and no numbers yet.

    Batch normalisation in evaluation mode and average pooling give another of its kind; every other function of torch
    computes it first. So modules and their hooks are called as ever, and only who asks for numbers makes them.

    Args:
        x: what the chain is given; it must not change before its result is computed.
        chain: the convolution, and what is known to follow.
        compute: makes the result of both.
    """

    x: Tensor
    chain: Chain
    compute: Callable[[Tensor, Chain], Tensor]

    @staticmethod
    def of(x: Tensor, chain: Chain, compute: Callable[[Tensor, Chain], Tensor]) -> Deferred:
        """Put a result off."""
        shape = (x.shape[0], len(chain.synapses.weight), *chain.size(*x.shape[2:]))
        found = torch.empty(shape, dtype=x.dtype, device="meta").as_subclass(Deferred)
        found.x, found.chain, found.compute = x, chain, compute
        return found

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What any function of torch makes of it."""
        named = kwargs or {}
        if func in DESCRIPTIONS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **named)
        if func in _FOLLOWERS and args and isinstance(args[0], Deferred):
            x, chain = args[0].x, _FOLLOWERS[func](args[0].chain, *args[1:], **named)
            if chain is not None and min(chain.size(*x.shape[2:])) > 0:  # torch says what is wrong with others
                return cls.of(x, chain, args[0].compute)
        args, named = tree_map(_computed, (args, named))
        return func(*args, **named)


def _computed(x: Any) -> Any:
    return x.compute(x.x, x.chain) if isinstance(x, Deferred) else x


def _normalised(
    chain: Chain,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Chain | None:
    """The chain before ``batch_norm``, with it; nothing where that does not fold."""
    if training or mean is None or variance is None or chain.norm is not None or chain.pool > 1:
        return None
    return replace(chain, norm=Norm(mean, variance, weight, bias, eps))


def _pooled(chain: Chain, kernel: Any, stride: Any = None, *others: Any, **named: Any) -> Chain | None:
    """The chain before ``avg_pool2d``, with it; nothing where that does not fold."""
    plain = others in ((), (0, False, True, None)) and not named
    if not isinstance(kernel, int) or stride not in (None, kernel) or not plain or chain.pool > 1:
        return None
    return replace(chain, pool=kernel)


_FOLLOWERS: dict[Callable[..., Any], Callable[..., Chain | None]] = {
    functional.batch_norm: _normalised,
    functional.avg_pool2d: _pooled,
}
