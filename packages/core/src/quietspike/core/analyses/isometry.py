"""Block dynamical isometry: whether a block keeps the length of the gradients that flow back through it.

With J the Jacobian of a block's output by its input, A = JJᵀ, and φ the expectation of the normalised trace
(tr A / m for m outputs), a network has block dynamical isometry if for each block

    φ(A) ≈ 1   and   ϕ(A) = φ(A²) − φ(A)² ≈ 0

φ(A) is the factor by which the squared length of a random gradient changes on its way back through the block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quietspike.core.analyses.blocks import block_inputs, find_blocks
from quietspike.core.analyses.moments import Moments
from quietspike.core.analyses.samples import check_finite, show
from quietspike.core.checks import check_whole
from quietspike.core.modes import evaluating


@dataclass(frozen=True)
class Isometry:
    """What a block does to gradients, estimated.

    Args:
        block: its path.
        mean: φ(JJᵀ).
        variance: ϕ(JJᵀ); an estimate of what is near 0 may lie below.
        error: standard error of ``mean`` over samples; nan of a single one.
        samples: how many were shown.
    """

    block: str
    mean: float
    variance: float
    error: float
    samples: int


def block_isometry(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    probes: int = 8,
    seed: int = 0,
    device: torch.device | str = "cpu",
    blocks: Iterable[str] | None = None,
) -> list[Isometry]:
    """φ(JJᵀ) and ϕ(JJᵀ) of each block on the inputs that it has in the network, in evaluation mode.

    Each block's Jacobian is that of all its T steps, the surrogate gradient standing for a spike's derivative. With
    vectors v of random signs (Hutchinson), E[vᵀAv] = tr A and, of two independent, E[(uᵀAv)²] = tr A²; both need
    Jᵀv alone. A sample costs ``probes`` backward passes a block.

    Args:
        network: a backbone.
        batches: frames and classes.
        probes: random vectors a sample, two or more.
        seed: of the vectors.
        device: where the network is.
        blocks: their paths; those of ``find_blocks`` where ``None``.

    Raises:
        DataError: if there is no sample, or a frame, a block's input or its Jacobian is not finite.
        OptionError: if there is no block, or one does not run once a pass, or is not a function of one tensor
            [T, B, ...] to another.

    Source:
        Chen et al. 2020, A Comprehensive and Modularized Statistical Framework for Gradient Norm Equality, definition
        3.1, as Yao et al. 2023 (MA-SNN) use it in section 7.1. Differs: they derive φ at initialisation, over random
        weights; here it is measured for given weights, over samples.
    """
    check_whole(2, probes=probes)
    generator = torch.Generator().manual_seed(seed)
    gathered: dict[str, Moments] = {}
    found = find_blocks(network, blocks)
    with evaluating(network), torch.no_grad():
        for frames, _ in show(batches, device):
            with block_inputs(found, frames) as inputs:
                network(frames)
            for name, x in inputs.items():
                for sample in torch.split(x, 1, dim=1):  # one by one: the probes of a whole batch may not fit
                    traces = estimate_traces(found[name], sample, probes, generator)
                    check_finite(name, traces)
                    gathered.setdefault(name, Moments()).add(traces.unsqueeze(0))
    return [_row(name, moments) for name, moments in gathered.items()]


def estimate_traces(block: nn.Module, x: Tensor, probes: int, generator: torch.Generator) -> Tensor:
    """Unbiased estimates of the normalised traces of JJᵀ and of its square.

    Args:
        block: a function of one tensor.
        x: where its Jacobian is taken.
        probes: random vectors.
        generator: of these, on the CPU.

    Shape:
        → [2], float64.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        out: Tensor = block.forward(x)  # not called: hooks are for the network's own pass
    size = out.numel()
    pulled = torch.zeros(probes, x.numel(), dtype=torch.float64, device=x.device)
    if out.requires_grad:
        for row in pulled:
            signs = torch.randint(2, out.shape, generator=generator).to(out) * 2 - 1
            (gradient,) = torch.autograd.grad(out, x, signs, retain_graph=True, materialize_grads=True)
            row.copy_(gradient.flatten())
    products = pulled @ pulled.t()  # of two vectors u and v: uᵀ JJᵀ v
    apart = ~torch.eye(probes, dtype=torch.bool, device=x.device)
    return torch.stack([products.diagonal().mean(), products[apart].square().mean()]).cpu() / size


def exact_traces(block: nn.Module, x: Tensor) -> Tensor:
    """The normalised traces of JJᵀ and of its square, from the whole Jacobian: for small blocks.

    Shape:
        → [2], float64.
    """
    jacobian: Tensor = torch.autograd.functional.jacobian(block.forward, x)  # type: ignore[no-untyped-call]
    rows = jacobian.reshape(-1, x.numel()).double()
    gram = rows @ rows.t()
    return torch.stack([gram.diagonal().sum(), gram.square().sum()]) / len(rows)


def _row(name: str, moments: Moments) -> Isometry:
    """Of a block's two traces over samples."""
    first, second = moments.mean.tolist()
    count = moments.count
    error = math.sqrt(float(moments.variance[0]) / (count - 1)) if count > 1 else math.nan
    return Isometry(name, first, second - first**2, error, count)
