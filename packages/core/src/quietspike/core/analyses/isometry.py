"""Block dynamical isometry: whether a block keeps the length of the gradients that flow back through it.

With J the Jacobian of a block's output by its input, A = JJᵀ, and φ the expectation of the normalised trace
(tr A / m for m outputs), a network has block dynamical isometry if for each block

    φ(A) ≈ 1   and   ϕ(A) = φ(A²) − φ(A)² ≈ 0

φ(A) is the factor by which the squared length of a random gradient changes on its way back through the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quietspike.core.analyses.blocks import find_blocks
from quietspike.core.analyses.moments import Moments
from quietspike.core.checks import check_whole
from quietspike.core.errors import DataError, OptionError
from quietspike.core.modes import evaluating


@dataclass(frozen=True)
class Isometry:
    """What a block does to gradients, estimated.

    Args:
        block: its path.
        mean: φ(JJᵀ).
        variance: ϕ(JJᵀ); an estimate of what is near 0 may lie below.
        error: standard error of ``mean`` over samples.
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
        DataError: if there is no batch.
        OptionError: if there is no block, or one is not a function of one tensor [T, B, ...].

    Source:
        Chen et al. 2020, A Comprehensive and Modularized Statistical Framework for Gradient Norm Equality, definition
        3.1, as Yao et al. 2023 (MA-SNN) use it in section 7.1. Differs: they derive φ at initialisation, over random
        weights; here it is measured for given weights, over samples.
    """
    check_whole(2, probes=probes)
    generator = torch.Generator().manual_seed(seed)
    gathered: dict[str, tuple[Moments, Moments]] = {}

    def measure(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            x = _sole_tensor(name, inputs, named, output)
            first, second = gathered.setdefault(name, (Moments(), Moments()))
            for index in range(x.shape[1]):  # one by one: the probes of a whole batch may not fit
                traces = estimate_traces(module, x[:, index : index + 1], probes, generator)
                first.add(traces[:1])
                second.add(traces[1:])

        return hook

    found = find_blocks(network, blocks)
    handles = [module.register_forward_hook(measure(name), with_kwargs=True) for name, module in found.items()]
    try:
        with evaluating(network), torch.no_grad():
            for frames, _ in batches:
                network(frames.to(device))
    finally:
        for handle in handles:
            handle.remove()
    if not gathered:
        raise DataError("there is no sample to analyse")
    return [
        Isometry(
            name,
            float(first.mean),
            float(second.mean - first.mean**2),
            float((first.variance / max(first.count - 1, 1)).sqrt()),
            first.count,
        )
        for name, (first, second) in gathered.items()
    ]


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


def _sole_tensor(name: str, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Tensor:
    """What a block was given, if that is one tensor, and so is what it gave, of as many steps and samples."""
    given = [*inputs, *named.values()]
    if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor):
        x: Tensor = given[0]
        if x.dim() > 2 and output.dim() > 2 and x.shape[:2] == output.shape[:2]:
            return x
    raise OptionError(f"{name}: is not a function of one tensor [T, B, ...] to another: name other blocks")
