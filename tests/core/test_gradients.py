import pytest
import torch
from torch import nn

from quietspike.core import DataError
from quietspike.core.analyses import gradient_norms
from quietspike.core.recipe import Recipe

from .conftest import bits, in_batches


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return x * self.factor


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Scale(3.0), Scale(2.0)

    def forward(self, frames):
        return self.second(self.first(frames)).sum(0)


def total(scores, labels):
    """The mean over the batch of half the squared scores."""
    return scores.square().sum(1).mean() / 2


FRAMES = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])  # T = 2, one sample, two features


def test_norms_are_those_of_the_hand():
    # scores s = 6 (2, 1); ∂L/∂(second's input) = 2 s at each step, ∂L/∂frames = 6 s; ∂L/∂factor = s · ∂s/∂factor
    first, second = gradient_norms(Two(), in_batches(FRAMES), total, blocks=["first", "second"])
    length = 6 * 5**0.5
    assert second.inputs == pytest.approx(2 * length * 2**0.5)
    assert first.inputs == pytest.approx(6 * length * 2**0.5)
    assert second.parameters == pytest.approx(36 * 5 / 2)
    assert first.parameters == pytest.approx(36 * 5 / 3)


def test_a_norm_is_a_samples_own_whatever_the_batch():
    frames = torch.cat([FRAMES, 2 * FRAMES, torch.zeros_like(FRAMES)], dim=1)
    one = gradient_norms(Two(), in_batches(FRAMES), total, blocks=["first"])[0]
    for sizes in ((3,), (2, 1), (1, 1, 1)):
        row = gradient_norms(Two(), in_batches(frames, *sizes), total, blocks=["first"])[0]
        assert row.inputs == pytest.approx(one.inputs)  # (1 + 2 + 0) / 3 of it
        assert row.parameters == pytest.approx(one.parameters * (1 + 4) / 3)


def test_they_are_those_of_backward(build):
    network, frames, recipe = build(neuron="plif"), bits(4, 6, 2, 8, 8), Recipe()
    rows = gradient_norms(network, in_batches(frames, 4, 2), recipe.loss_of)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not frames.requires_grad
    network.eval()
    recipe.loss_of(network(frames), torch.zeros(6, dtype=torch.long)).backward()
    assert [row.block for row in rows] == ["block1", "block2", "block3", "fc1", "fc2"]
    for row in rows:
        gradients = [p.grad.flatten() for p in network.get_submodule(row.block).parameters()]
        assert row.parameters == pytest.approx(float(torch.cat(gradients).norm()), rel=1e-4)
        assert row.inputs > 0


def test_the_network_is_left_as_it_was(build):
    network = build(neuron="plif").train()
    for parameter in network.block1.parameters():
        parameter.requires_grad_(False)
    row = gradient_norms(network, in_batches(bits(4, 2, 2, 8, 8)), Recipe().loss_of)[0]
    assert (row.block, row.parameters) == ("block1", 0)
    assert row.inputs > 0
    assert all(module.training and not module._forward_pre_hooks for module in network.modules())


def test_no_sample_is_refused(build):
    with pytest.raises(DataError, match="no sample"):
        gradient_norms(build(), [], Recipe().loss_of)
