"""TCSA on [16, 4, 64, 32, 32], forward and backward: ours, our plain twin and SpikingJelly's, with the same weights.

    pip install --no-deps -r benchmarks/requirements.txt; python benchmarks/attention.py

Two threads, float32; ours channels last, as convolutions want it, SpikingJelly's contiguous.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based.layer import MultiDimensionalAttention
from timing import best_seconds, print_times

from quietspike.attention import tcsa
from quietspike.core import Site
from quietspike.core.kernels import reference

SHAPE = (16, 4, 64, 32, 32)


def main():
    """Print milliseconds and how often ours fits into them."""
    torch.set_num_threads(2)
    ours = tcsa(Site("block1.current", "current", SHAPE[0], SHAPE[2], spatial=True))
    theirs = MultiDimensionalAttention(SHAPE[0], SHAPE[2], reduction_t=5, reduction_c=8, kernel_size=3)
    frames = torch.randn(SHAPE).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    last = frames.unflatten(0, SHAPE[:2]).requires_grad_()
    first = last.detach().contiguous().requires_grad_()
    gradient = torch.randn(SHAPE)
    last_gradient = gradient.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, SHAPE[:2])

    def step(layer, x, given):
        torch.autograd.grad(layer(x), [x, *layer.parameters()], given)

    def plain():
        with reference():
            step(ours, last, last_gradient)

    runs = {
        "quietspike": lambda: step(ours, last, last_gradient),
        "quietspike, plain twin": plain,
        "SpikingJelly 2": lambda: step(theirs, first, gradient),
    }
    print_times(best_seconds(runs, rounds=12))


if __name__ == "__main__":
    main()
