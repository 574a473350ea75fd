"""How long gradients are at each depth of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quietspike.core.analyses.blocks import find_blocks
from quietspike.core.analyses.moments import Moments
from quietspike.core.errors import DataError
from quietspike.core.modes import evaluating


@dataclass(frozen=True)
class GradientNorm:
    """Gradients at one block.

    Args:
        block: its path.
        inputs: L2 norm of a sample's loss by what the block is given, averaged over the samples.
        parameters: L2 norm of the mean loss by the block's parameters, all together.
    """

    block: str
    inputs: float
    parameters: float


def gradient_norms(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device | str = "cpu",
    blocks: Iterable[str] | None = None,
) -> list[GradientNorm]:
    """Gradient norms of a split by depth, in evaluation mode; the parameters' own ``grad`` is left as it is.

    Where all blocks have dynamical isometry the norm by the inputs is the same at every depth.

    Args:
        network: a backbone.
        batches: frames and classes.
        loss: of scores [B, classes] and classes [B], a mean over the batch, as ``Recipe.loss_of``.
        device: where the network is.
        blocks: their paths; those of ``find_blocks`` where ``None``.

    Raises:
        DataError: if there is no batch.
        OptionError: if there is no block.

    Source:
        Gradient norm equality, Chen et al. 2020, to which Yao et al. 2023 (MA-SNN), section 7.1, refer.
    """
    found = find_blocks(network, blocks)
    weights = {name: [p for p in module.parameters() if p.requires_grad] for name, module in found.items()}
    flat = [p for own in weights.values() for p in own]
    sums = [torch.zeros_like(p) for p in flat]
    inputs: dict[str, Tensor] = {}
    norms: dict[str, Moments] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            inputs[name] = next(x for x in [*given, *named.values()] if isinstance(x, Tensor))

        return hook

    handles = [module.register_forward_pre_hook(keep(name), with_kwargs=True) for name, module in found.items()]
    count = 0
    try:
        with evaluating(network), torch.enable_grad():
            for frames, labels in batches:
                inputs.clear()
                scores = network(frames.detach().to(device).requires_grad_())
                mean = loss(scores, labels.to(device))
                wanted = [*inputs.values(), *flat]
                found_gradients = torch.autograd.grad(mean, wanted, allow_unused=True, materialize_grads=True)
                for name, gradient in zip(inputs, found_gradients, strict=False):
                    per_sample = len(labels) * gradient.transpose(0, 1).flatten(1).norm(dim=1)
                    norms.setdefault(name, Moments()).add(per_sample)
                for total, gradient in zip(sums, found_gradients[len(inputs) :], strict=True):
                    total += gradient * len(labels)
                count += len(labels)
    finally:
        for handle in handles:
            handle.remove()
    if count == 0:
        raise DataError("there is no sample to analyse")
    squares = iter([float((total / count).double().square().sum()) for total in sums])
    of_weights = {name: sum(next(squares) for _ in own) ** 0.5 for name, own in weights.items()}
    return [GradientNorm(name, float(norms[name].mean), of_weights[name]) for name in norms]
