import pytest
import torch
from torch import nn

from quietspike.core import DataError, OptionError
from quietspike.core.analyses import block_isometry, gradient_norms
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


# what is refused, by isometry in the same way


def norms(network, batches, blocks=None):
    return gradient_norms(network, batches, total, blocks=blocks)


def isometry(network, batches, blocks=None):
    return block_isometry(network, batches, probes=2, blocks=blocks)


both = pytest.mark.parametrize("analyse", [norms, isometry])


@both
@pytest.mark.parametrize("inner", ["conv", "norm"])
def test_a_block_that_sees_single_frames_is_refused(build, analyse, inner):
    frames = bits(4, 2, 2, 8, 8)
    with pytest.raises(OptionError, match=rf"^block1.{inner}: is not a function of one tensor \[T, B, ...\] to anoth"):
        analyse(build(), in_batches(frames), ["block1", f"block1.{inner}"])


@both
def test_a_block_that_runs_twice_or_not_at_all_is_refused(analyse):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.spare, self.twice = Scale(1.0), Scale(2.0)

        def forward(self, frames):
            return self.twice(self.twice(frames)).sum(0)

    network = Odd()
    with pytest.raises(OptionError, match=r"^spare: does not run"):
        analyse(network, in_batches(FRAMES), ["spare"])
    with pytest.raises(OptionError, match=r"^twice: runs twice"):
        analyse(network, in_batches(FRAMES), ["twice"])
    assert not any(module._forward_hooks for module in network.modules())


@both
def test_what_is_not_finite_is_refused_by_the_block_where_it_arises(analyse):
    with pytest.raises(DataError, match=r"^frames: a value is not finite"):
        analyse(Two(), in_batches(FRAMES / 0), ["first"])
    network = Two()
    with torch.no_grad():
        network.second.factor.fill_(float("nan"))
    with pytest.raises(DataError, match=r"^second: a value is not finite"):
        analyse(network, in_batches(FRAMES), ["first", "second"])
    network = Two()
    with torch.no_grad():
        network.first.factor.fill_(float("inf"))
    with pytest.raises(DataError, match=r"^second: a value is not finite"):
        analyse(network, in_batches(torch.ones_like(FRAMES)), ["second"])


def test_a_parameters_gradient_that_is_not_finite_is_refused():
    class Root(Scale):
        def forward(self, x):
            return x + self.factor.sqrt()

    network = Two()
    network.second = Root(0.0)
    with pytest.raises(DataError, match=r"^second: a value is not finite"):
        norms(network, in_batches(FRAMES), ["first", "second"])


@both
def test_batches_without_samples_are_passed_over(analyse):
    batches = [(FRAMES[:, :0], torch.zeros(0)), *in_batches(FRAMES)]
    assert analyse(Two(), batches, ["first"]) == analyse(Two(), batches[1:], ["first"])
    with pytest.raises(DataError, match="no sample"):
        analyse(Two(), batches[:1], ["first"])
