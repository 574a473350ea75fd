"""A LIF layer of [16, 4, 64, 32, 32], forward and backward: ours, our plain twin, SpikingJelly's, and a tensor's copy.

    pip install --no-deps -r benchmarks/requirements.txt; python benchmarks/neuron.py

Two threads, float32; the peer in a process of its own, as it comes, and once more in ours, whose freed memory is kept
as by ``train``. All take turns; a first round compiles and does not count.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based import neuron, surrogate
from timing import Apart, best_seconds, print_times

from quietspike.core.kernels import reference
from quietspike.core.kernels.memory import keep_freed_memory
from quietspike.core.neurons import LIF

SHAPE = (16, 4, 64, 32, 32)


def theirs():
    """SpikingJelly's layer."""
    torch.set_num_threads(2)
    layer = neuron.LIFNode(tau=2.0, decay_input=False, surrogate_function=surrogate.ATan(), step_mode="m")
    current, gradient = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)

    def step():
        layer.reset()
        torch.autograd.grad(layer(current), current, gradient)

    return {"step": step}


def main():
    """Print milliseconds and how often ours fits into them."""
    torch.set_num_threads(2)
    keep_freed_memory()
    current = torch.randn(SHAPE, requires_grad=True)
    gradient, copied = torch.randn(SHAPE), torch.empty(SHAPE)
    layer = LIF(threshold=1.0, decay=0.5, surrogate="atan")

    def step():
        torch.autograd.grad(layer(current), current, gradient)

    def plain():
        with reference():
            step()

    runs = {
        "quietspike": step,
        "quietspike, plain twin": plain,
        "SpikingJelly 2, torch": Apart(theirs).run("step"),
        "the same, memory kept": theirs()["step"],
        "a copy of the tensor": lambda: copied.copy_(gradient),
    }
    print_times(best_seconds(runs, rounds=20))


if __name__ == "__main__":
    main()
