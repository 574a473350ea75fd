"""A LIF layer of [16, 4, 64, 32, 32], forward and backward: ours, our plain twin, SpikingJelly's, and a tensor's copy.

    pip install --no-deps -r benchmarks/requirements.txt; python benchmarks/neuron.py

Two threads, float32; a first round compiles and does not count.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based import neuron, surrogate
from timing import best_seconds, print_times

from quietspike.core.kernels import reference
from quietspike.core.neurons import LIF

SHAPE = (16, 4, 64, 32, 32)


def main():
    """Print milliseconds and how often ours fits into them."""
    torch.set_num_threads(2)
    current = torch.randn(SHAPE, requires_grad=True)
    gradient, copied = torch.randn(SHAPE), torch.empty(SHAPE)
    ours = LIF(threshold=1.0, decay=0.5, surrogate="atan")
    theirs = neuron.LIFNode(tau=2.0, decay_input=False, surrogate_function=surrogate.ATan(), step_mode="m")

    def step(layer):
        theirs.reset()
        torch.autograd.grad(layer(current), current, gradient)

    def plain():
        with reference():
            step(ours)

    runs = {
        "quietspike": lambda: step(ours),
        "quietspike, plain twin": plain,
        "SpikingJelly 2, torch": lambda: step(theirs),
        "a copy of the tensor": lambda: copied.copy_(gradient),
    }
    print_times(best_seconds(runs, rounds=20))


if __name__ == "__main__":
    main()
