"""How long a network takes to answer for one sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from quietspike.core.modes import evaluating
from quietspike.core.recipe import Recipe

MEASURED_FOR = 0.5
"""Seconds, after a warm-up."""


@torch.inference_mode()
def measure_latency(network: nn.Module, frames: Tensor, recipe: Recipe) -> float:
    """Milliseconds of one inference, the median of as many as take half a second.

    It is timed by PyTorch's own benchmark timer, which warms up and waits for a GPU, with as many threads as torch has
    at that moment. It depends on the machine and on what else runs there, and no two measurements agree to the last
    digit.

    Args:
        network: a backbone, on the device to measure on; in the end it is in the mode that it was in.
        frames: one sample.
        recipe: its precision.

    Shape:
        frames [T, 1, C, H, W].
    """
    frames = frames.to(next(network.parameters()).device)
    timer = Timer(
        "run(network, frames)",
        globals={"run": recipe.run, "network": network, "frames": frames},
        num_threads=torch.get_num_threads(),
    )
    with evaluating(network):
        return 1e3 * timer.blocked_autorange(min_run_time=MEASURED_FOR).median
