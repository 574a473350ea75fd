"""The time that one answer takes."""

import time

import torch
from torch import nn

from quietspike.core.latency import measure_latency
from quietspike.core.recipe import Recipe


class Slow(nn.Module):
    """Takes a known time, and says in which mode it was run."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seconds, self.modes, self.shapes = seconds, set(), set()

    def forward(self, frames):
        self.modes.add((self.training, torch.is_grad_enabled()))
        self.shapes.add(tuple(frames.shape))
        time.sleep(self.seconds)
        return frames.mean(dim=(0, 2, 3, 4)).unsqueeze(1) * self.weight


def test_it_is_the_time_of_one_sample_without_gradients_in_evaluation_mode():
    network = Slow(0.02).train()
    milliseconds = measure_latency(network, torch.zeros(4, 1, 2, 8, 8), Recipe())
    assert 20 <= milliseconds < 60
    assert (network.modes, network.shapes) == ({(False, False)}, {(4, 1, 2, 8, 8)})
    assert network.training, "as it was"


def test_what_takes_longer_has_the_larger_latency():
    frames = torch.zeros(4, 1, 2, 8, 8)
    assert measure_latency(Slow(0.03), frames, Recipe()) > measure_latency(Slow(0.001), frames, Recipe())
