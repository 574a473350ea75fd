"""On a GPU: a LIF layer, TCSA and training steps, beside SpikingJelly's, the plain twins and floors.

    pip install --no-deps -r benchmarks/requirements.txt; python benchmarks/on_gpu.py

The tasks of neuron.py, attention.py and training_step.py. The floor of a LIF layer are two and a half copies of its
tensor: currents are read and spikes written, then currents and gradients read and gradients written. All take turns in
one process, and each is waited for. Memory is the most that was allocated at once over what there was before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import attention
import torch
from spikingjelly.activation_based import neuron, surrogate
from timing import best_seconds, print_times
from training_step import THEIRS, VARIANTS, floor, ours, theirs

from quietspike.attention import tcsa
from quietspike.core import Site
from quietspike.core.kernels import reference
from quietspike.core.neurons import LIF


def waited(run: Callable[[], object], times: int) -> Callable[[], None]:
    """The run, several times over, until the GPU has done it."""

    def until_done() -> None:
        for _ in range(times):
            run()
        torch.cuda.synchronize()

    return until_done


def plain(run: Callable[[], object]) -> Callable[[], None]:
    """The run without kernels."""

    def without() -> None:
        with reference():
            run()

    return without


def lif_runs(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """A LIF layer forward and backward: ours, theirs, and the floor."""
    current, gradient, copied = torch.randn(shape, requires_grad=True), torch.randn(shape), torch.empty(shape)
    own = LIF(threshold=1.0, decay=0.5, surrogate="atan")
    peer = neuron.LIFNode(tau=2.0, decay_input=False, surrogate_function=surrogate.ATan(), step_mode="m")

    def of_peer() -> None:
        peer.reset()
        torch.autograd.grad(peer(current), current, gradient)

    def of_ours() -> None:
        torch.autograd.grad(own(current), current, gradient)

    def copies() -> None:
        for part in (gradient, gradient, gradient[: shape[0] // 2]):
            copied[: len(part)].copy_(part)

    return {
        "quietspike": of_ours,
        "quietspike, plain twin": plain(of_ours),
        "SpikingJelly 2": of_peer,
        "two and a half copies": copies,
    }


def tcsa_runs() -> dict[str, Callable[[], object]]:
    """TCSA forward and backward."""
    own = tcsa(Site("block1.current", "current", attention.SHAPE[0], attention.SHAPE[2], spatial=True))
    last = attention.channels_last(torch.randn(attention.SHAPE)).requires_grad_()
    x = torch.randn(attention.SHAPE).requires_grad_()
    return {
        "quietspike": attention.step(own, last, attention.channels_last(torch.randn(attention.SHAPE))),
        "SpikingJelly 2": attention.step(attention.build(), x, torch.randn(attention.SHAPE)),
    }


def step_runs(steps: int, batch: int) -> dict[str, Callable[[], object]]:
    """Training steps of MA-SNN's network for Gesture."""
    runs: dict[str, Callable[[], object]] = {}
    for precision in ("float32", "bfloat16"):
        runs[f"floor, {precision}"] = floor(steps, batch, precision)
        for name in VARIANTS:
            runs[f"{name}, {precision}"] = ours(steps, batch, name, precision)
    runs["none, float32, plain twin"] = plain(ours(steps, batch, "none", "float32"))
    runs |= {f"{name}, SpikingJelly 2": theirs(steps, batch, name) for name in THEIRS}
    return runs


def show(title: str, build: Callable[[], dict[str, Callable[[], object]]], rounds: int, times: int) -> None:
    """Times, and the most memory."""
    print(f"\n{title}")
    with torch.device("cuda"):
        runs = build()
    for name, run in runs.items():
        run()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        print(f"{name:32} {(torch.cuda.max_memory_allocated() - before) / 2**20:8.0f} MiB")
    seconds = best_seconds({name: waited(run, times) for name, run in runs.items()}, rounds)
    print_times({name: taken / times for name, taken in seconds.items()})


def main() -> None:
    """Print milliseconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no GPU here")
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for shape in ((16, 4, 64, 32, 32), (16, 64, 64, 32, 32)):
        show(f"A LIF layer of {list(shape)}, float32", partial(lif_runs, shape), options.rounds, 10)
    show(f"TCSA on {list(attention.SHAPE)}, float32", tcsa_runs, options.rounds, 10)
    for batch in (4, 64):
        show(f"A training step, T = 16, B = {batch}", partial(step_runs, 16, batch), options.rounds, 5)


if __name__ == "__main__":
    main()
