"""How long gradients are at each depth of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietspike.core.analyses.blocks import block_inputs, find_blocks
from quietspike.core.analyses.moments import Moments
from quietspike.core.analyses.samples import check_finite, show
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
        DataError: if there is no sample, or a frame, a block's input or a gradient is not finite.
        OptionError: if there is no block, or one does not run once a pass, or is not a function of one tensor
            [T, B, ...] to another.

    Source:
        Gradient norm equality, Chen et al. 2020, to which Yao et al. 2023 (MA-SNN), section 7.1, refer.
    """
    found = find_blocks(network, blocks)
    weights = {name: [p for p in module.parameters() if p.requires_grad] for name, module in found.items()}
    flat = [p for own in weights.values() for p in own]
    sums = [torch.zeros_like(p) for p in flat]
    norms: dict[str, Moments] = {}
    count = 0
    with evaluating(network), torch.enable_grad():
        for frames, labels in show(batches, device):
            frames = frames.detach().requires_grad_()
            with block_inputs(found, frames) as inputs:
                mean = loss(network(frames), labels)
            wanted = [*inputs.values(), *flat]
            found_gradients = torch.autograd.grad(mean, wanted, allow_unused=True, materialize_grads=True)
            by_inputs = dict(zip(inputs, found_gradients, strict=False))
            for name in reversed(by_inputs):  # nan flows back from where it arises
                check_finite(name, by_inputs[name])
            for name, gradient in by_inputs.items():
                per_sample = len(labels) * gradient.transpose(0, 1).flatten(1).norm(dim=1)
                norms.setdefault(name, Moments()).add(per_sample)
            for total, gradient in zip(sums, found_gradients[len(inputs) :], strict=True):
                total += gradient * len(labels)
            count += len(labels)
    squares = iter([float((total / count).double().square().sum()) for total in sums])
    of_weights = {name: sum(next(squares) for _ in own) ** 0.5 for name, own in weights.items()}
    for name, norm in of_weights.items():
        check_finite(name, torch.tensor(norm))
    return [GradientNorm(name, float(norms[name].mean), of_weights[name]) for name in norms]
