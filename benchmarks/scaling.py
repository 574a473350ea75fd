"""How the cost of a training step grows with steps, batch, width and number of sites that have TCSA.

    python benchmarks/scaling.py

MA-SNN's network for Gesture, 32×32, T = 16, B = 4 where nothing else is said, two threads, float32. A step's floor is
its convolutions and linear layers alone, which grow with the square of the width.
"""

from __future__ import annotations

from functools import partial

import torch
from timing import best_seconds
from torch import nn

from quietspike.core import Placement, list_sites
from quietspike.core.conv3 import Conv3
from quietspike.core.kernels.memory import keep_freed_memory
from quietspike.core.recipe import Recipe

WIDTHS = (64, 128, 128)
ROWS = {
    "steps": [{"steps": steps} for steps in (4, 8, 16, 32, 64)],
    "batch": [{"batch": batch} for batch in (1, 2, 4, 8, 16)],
    "width": [{"width": width} for width in (0.25, 0.5, 1, 2)],
    "sites": [{"sites": sites} for sites in (0, 1, 2, 3)],
}


def build(steps=16, batch=4, width=1, sites=3):
    """A training step, and its convolutions and linear layers alone."""
    options = {"steps": steps, "widths": [int(width * channels) for channels in WIDTHS]}
    names = [site.name for site in list_sites(partial(Conv3, **options)) if site.name.startswith("block")]
    chosen = [name for name in names if name.endswith("current")][:sites]
    network = Conv3(**options, attention=Placement(dict.fromkeys(chosen, "tcsa")))
    network = network.to(memory_format=torch.channels_last).train()
    recipe = Recipe()
    optimizer = recipe.optimize(network.parameters())
    frames, labels = (torch.rand(steps, batch, 2, 32, 32) < 0.1).float(), torch.arange(batch) % 11

    def step():
        loss = recipe.loss_of(recipe.run(network, frames), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step, floor(network, frames)


def floor(network, frames):
    """Forward and backward of each convolution and linear layer on what it gets in the network."""
    taken = []
    handles = [
        module.register_forward_hook(lambda module, inputs, out: taken.append((module, inputs[0], out)))
        for name, module in network.named_modules()
        if name.endswith((".conv", ".linear")) and "current" not in name and isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    network(frames)
    for handle in handles:
        handle.remove()
    runs = []
    for number, (module, given, out) in enumerate(taken):
        runs.append((module, given.detach().requires_grad_(number > 0), torch.randn_like(out)))

    def run():
        for module, given, gradient in runs:
            wanted = [*module.parameters(), *([given] if given.requires_grad else [])]
            torch.autograd.grad(module(given), wanted, gradient)

    return run


def main():
    """Print, for each size, milliseconds, those of each step or sample, and the ratio to the floor."""
    torch.set_num_threads(2)
    keep_freed_memory()
    print(f"{'':6} {'':>6} {'ms':>8} {'each':>8} {'floor':>8} {'ratio':>6}")
    for name, rows in ROWS.items():
        for row in rows:
            step, least = build(**row)
            seconds = best_seconds({"step": step, "floor": least}, rounds=6)
            size = row[name]
            each = f"{1e3 * seconds['step'] / size:8.1f}" if name in ("steps", "batch") else f"{'':8}"
            print(
                f"{name:6} {size:6} {1e3 * seconds['step']:8.1f} {each} {1e3 * seconds['floor']:8.1f} "
                f"{seconds['step'] / seconds['floor']:6.2f}"
            )


if __name__ == "__main__":
    main()
