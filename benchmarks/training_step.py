"""A training step of MA-SNN's network for Gesture against its convolutions and linear layers alone, and SpikingJelly's.

    pip install --no-deps -r benchmarks/requirements.txt; python benchmarks/training_step.py --steps 16 --batch 4

Two threads. The floor is what no implementation saves: the convolutions and linear layers, forward and backward,
channels last; ours and SpikingJelly's steps are forward, loss, backward and Adam. All take turns. The floor and ours
run in one process, whose freed memory is kept as in ``train``, which helps both; SpikingJelly in one of its own, as it
comes, and once more in ours. Memory is the growth of a fresh process's peak over three steps.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial
from pathlib import Path

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from timing import Apart, best_seconds
from torch import nn

from quietspike.core import Placement, list_sites
from quietspike.core.conv3 import Conv3
from quietspike.core.kernels.memory import keep_freed_memory
from quietspike.core.recipe import Recipe

VARIANTS = ("none", "tcsa", "csa", "asa")
THEIRS = ("none", "tcsa")  # the others it does not have
PRECISIONS = ("float32", "bfloat16")


def floor(steps, batch, precision):
    """Forward and backward of each convolution and linear layer by itself."""
    dtype = getattr(torch, precision)
    last = partial(torch.Tensor.contiguous, memory_format=torch.channels_last)
    layers = []
    for number, (into, out, size) in enumerate([(2, 64, 32), (64, 128, 32), (128, 128, 16)]):
        spikes = (torch.rand(steps * batch, into, size, size) < 0.1).to(dtype)
        gradient = last(torch.randn(steps * batch, out, size, size).to(dtype))
        conv = nn.Conv2d(into, out, 3, padding=1).to(memory_format=torch.channels_last)
        layers.append((conv, last(spikes).requires_grad_(number > 0), gradient))
    for into, out in ((8192, 256), (256, 11)):
        spikes = (torch.rand(steps * batch, into) < 0.1).to(dtype).requires_grad_()
        layers.append((nn.Linear(into, out), spikes, torch.randn(steps * batch, out).to(dtype)))
    device = spikes.device.type

    def run():
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            for synapses, spikes, gradient in layers:
                wanted = [*synapses.parameters(), *([spikes] if spikes.requires_grad else [])]
                torch.autograd.grad(synapses(spikes), wanted, gradient)

    return run


def ours(steps, batch, attention, precision):
    """A training step as ``train`` takes it."""
    placement = Placement.uniform({"name": attention}, list_sites(partial(Conv3, steps=steps)))
    network = Conv3(steps=steps, attention=placement).to(memory_format=torch.channels_last).train()
    recipe = Recipe(precision=precision)
    optimizer = recipe.optimize(network.parameters())
    return training(network, optimizer, steps, batch, recipe, partial(recipe.run, network))


def theirs(steps, batch, attention):
    """The same network of SpikingJelly's layers."""
    layers = []
    for into, out, pool in ((2, 64, 1), (64, 128, 2), (128, 128, 2)):
        layers += [layer.Conv2d(into, out, 3, padding=1), layer.BatchNorm2d(out)]
        layers += [layer.AvgPool2d(pool)] if pool > 1 else []
        if attention == "tcsa":
            layers.append(layer.MultiDimensionalAttention(steps, out, reduction_t=5, reduction_c=8, kernel_size=3))
        layers.append(fires())
    layers.append(layer.Flatten())
    for into, out in ((8192, 256), (256, 11)):
        layers += [layer.Linear(into, out), layer.SeqToANNContainer(nn.BatchNorm1d(out)), fires()]
    network = nn.Sequential(*layers).train()
    functional.set_step_mode(network, "m")

    def run(frames):
        functional.reset_net(network)
        return network(frames).mean(0)

    return training(network, torch.optim.Adam(network.parameters()), steps, batch, Recipe(), run)


def peers(steps, batch):
    """The steps of SpikingJelly's networks by attention."""
    torch.set_num_threads(2)
    return {name: theirs(steps, batch, name) for name in THEIRS}


def fires():
    """U = 0.3 H + X, fires at 0.3, reset to 0."""
    return neuron.LIFNode(
        tau=1 / 0.7, decay_input=False, v_threshold=0.3, surrogate_function=surrogate.ATan(), step_mode="m"
    )


def training(network, optimizer, steps, batch, recipe, run):
    """A step on frames that a tenth of the pixels are in."""
    frames, labels = (torch.rand(steps, batch, 2, 32, 32) < 0.1).float(), torch.arange(batch) % 11

    def step():
        loss = recipe.loss_of(run(frames), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def peak(build, *arguments):
    """MiB that a process grows by over three steps."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (build, arguments))


def _peak_here(build, arguments):
    torch.set_num_threads(2)
    if build is ours:
        keep_freed_memory()  # as in train
    torch.randn(64, 64) @ torch.randn(64, 64)
    before = highest()
    step = build(*arguments)
    for _ in range(3):
        step()
    return highest() - before


def highest():
    """The most memory that this process has had at once, in MiB; getrusage would count its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main():
    """Print milliseconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    shape = options.steps, options.batch
    torch.set_num_threads(2)
    keep_freed_memory()
    runs = {("floor", precision): floor(*shape, precision) for precision in PRECISIONS}
    runs |= {(name, precision): ours(*shape, name, precision) for name in VARIANTS for precision in PRECISIONS}
    apart = Apart(peers, *shape)
    runs |= {("theirs", name): apart.run(name) for name in THEIRS}
    runs |= {("kept", name): run for name, run in peers(*shape).items()}
    seconds = best_seconds(runs, options.rounds)
    print(f"T = {shape[0]}, B = {shape[1]}; best of {options.rounds} rounds, ms")
    columns = ("ms", "floor", "ratio", "SpikingJelly", "ratio", "memory kept", "ratio")
    print(" " * 19 + "".join(f"{column:>13}" for column in columns))
    for name in VARIANTS:
        for precision in PRECISIONS:
            own, least = 1e3 * seconds[name, precision], 1e3 * seconds["floor", precision]
            row = [own, least, own / least]
            for way in ("theirs", "kept"):
                if (way, name) in seconds:
                    peer = 1e3 * seconds[way, name]
                    row += [peer, peer / own]
            print(f"{name:8} {precision:10}" + "".join(f"{value:13.4g}" for value in row))
    print("peak memory of a step, MiB")
    for name in VARIANTS:
        own = [f"{precision} {peak(ours, *shape, name, precision):.0f}" for precision in PRECISIONS]
        peer = f", SpikingJelly {peak(theirs, *shape, name):.0f}" if name in THEIRS else ""
        print(f"{name:8} {', '.join(own)}{peer}")


if __name__ == "__main__":
    main()
