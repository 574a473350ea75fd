"""TCSA on [16, 4, 64, 32, 32], forward and backward: ours, our plain twin and SpikingJelly's.

    pip install --no-deps -r benchmarks/requirements.txt; python benchmarks/attention.py

Two threads, float32; ours channels last, as convolutions want it, SpikingJelly's contiguous; the peer in a process of
its own, as it comes, and once more in ours, whose freed memory is kept as by ``train``. With the same weights both give
the same numbers, which is checked first.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based.layer import MultiDimensionalAttention
from timing import Apart, best_seconds, print_times

from quietspike.attention import tcsa
from quietspike.core import Site
from quietspike.core.kernels import reference
from quietspike.core.kernels.memory import keep_freed_memory

SHAPE = (16, 4, 64, 32, 32)


def build():
    """SpikingJelly's module."""
    return MultiDimensionalAttention(SHAPE[0], SHAPE[2], reduction_t=5, reduction_c=8, kernel_size=3)


def theirs():
    """SpikingJelly's attention, forward and backward."""
    torch.set_num_threads(2)
    return {"step": step(build(), torch.randn(SHAPE).requires_grad_(), torch.randn(SHAPE))}


def step(layer, x, gradient):
    """Forward and backward."""
    return lambda: torch.autograd.grad(layer(x), [x, *layer.parameters()], gradient)


def channels_last(x):
    """The same numbers as [T, B, H, W, C] in memory."""
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, SHAPE[:2])


def check(ours):
    """Whether both give the same with the same weights."""
    peer = build()
    with torch.no_grad():
        for own, other in zip(ours.parameters(), peer.parameters(), strict=True):
            own.copy_(other.view_as(own))
    x = torch.randn(SHAPE)
    print(f"largest difference of the outputs {float((ours(channels_last(x)) - peer(x)).abs().max()):.1e}")


def main():
    """Print milliseconds and how often ours fits into them."""
    torch.set_num_threads(2)
    keep_freed_memory()
    ours = tcsa(Site("block1.current", "current", SHAPE[0], SHAPE[2], spatial=True))
    run = step(ours, channels_last(torch.randn(SHAPE)).requires_grad_(), channels_last(torch.randn(SHAPE)))

    def plain():
        with reference():
            run()

    runs = {
        "quietspike": run,
        "quietspike, plain twin": plain,
        "SpikingJelly 2": Apart(theirs).run("step"),
        "the same, memory kept": theirs()["step"],
    }
    print_times(best_seconds(runs, rounds=12))


if __name__ == "__main__":
    main()
