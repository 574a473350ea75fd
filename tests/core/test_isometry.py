import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from quietspike.core import DataError, OptionError, UnknownNameError
from quietspike.core.analyses import block_isometry, estimate_traces, exact_traces, find_blocks
from quietspike.core.conv3 import Conv3
from quietspike.core.layers import SpikingConv
from quietspike.core.neurons import LIF

from .conftest import Relay, bits, in_batches


class Linear(nn.Module):
    """A block that is a matrix over the last axis."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x):
        return x @ self.matrix.t()


class Chain(nn.Module):
    """Blocks one after the other, and a neuron after all."""

    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.neuron = LIF()

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.neuron(x).mean(0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def orthogonal(size, seed=0):
    return torch.linalg.qr(torch.randn(size, size, generator=seeded(seed)))[0]


def measured(matrix, probes=16, samples=8, **options):
    size = matrix.shape[1]
    frames = torch.randn(2, samples, size, generator=seeded())
    [row] = block_isometry(Chain(Linear(matrix)), in_batches(frames), probes=probes, blocks=["blocks.0"], **options)
    return row


# known Jacobians


@pytest.mark.parametrize("scale", [1.0, 0.5, 3.0])
def test_a_rotation_times_a_scale_has_that_scales_square(scale):
    row = measured(scale * orthogonal(40))
    assert (row.block, row.samples) == ("blocks.0", 8)
    assert row.mean == pytest.approx(scale**2, rel=1e-4)
    assert row.variance == pytest.approx(0, abs=0.15 * scale**4)
    assert row.error < 1e-5


def test_unequal_singular_values_have_a_variance():
    row = measured(torch.diag(torch.tensor([1.0, 3.0]).repeat(20)), samples=32)
    assert row.mean == pytest.approx(5, rel=1e-4)  # (1 + 9) / 2; signs see a diagonal exactly
    assert row.variance == pytest.approx(41 - 25, rel=0.1)  # (1 + 81) / 2


def test_a_residual_block_has_one_and_what_its_branch_adds():
    """MA-SNN's Att-1: φ(JJᵀ) = 1 + ζ² φ(J̃J̃ᵀ), here of a rotation as its branch."""

    class Residual(Linear):
        def forward(self, x):
            return x + super().forward(x)

    frames = torch.randn(1, 8, 200, generator=seeded())
    for scale in (0.0, 0.1, 1.0):
        block = Residual(scale * orthogonal(200))
        [row] = block_isometry(Chain(block), in_batches(frames), probes=32, blocks=["blocks.0"])
        assert row.mean == pytest.approx(1 + scale**2, rel=0.05)
        assert exact_traces(block, frames[:, :1])[0].item() == pytest.approx(1 + scale**2, rel=0.05)


def test_the_trace_is_normalised_by_the_outputs():
    wide = torch.ones(1, 4)  # one output of four inputs: JJᵀ = 4
    assert exact_traces(Linear(wide), torch.zeros(1, 1, 4)).tolist() == [4, 16]
    tall = torch.ones(4, 1)  # JJᵀ is all ones
    assert exact_traces(Linear(tall), torch.zeros(1, 1, 1)).tolist() == [1, 4]


def test_a_spikes_derivative_is_the_surrogates():
    # threshold 1, no decay: U = X at both steps, and the Jacobian is diagonal: 2 where |X - 1| < 1/4, else 0
    neuron = LIF(threshold=1.0, decay=0.0, surrogate="rectangular", surrogate_scale=0.25)
    x = torch.tensor([0.9, 1.1, 0.0, 5.0]).reshape(2, 1, 2)
    assert exact_traces(neuron, x).tolist() == [2, 8]


def test_the_jacobian_reaches_through_time():
    # U₁ = X₁, H₁ = (U₁ - U₁ S₁)/2, U₂ = H₁ + X₂; S′ = 2 at U₁ = 0.9 and at U₂ = 0.45 + 0.5 = 0.95, so
    # ∂H₁/∂X₁ = (1 - 0 - 0.9 · 2)/2 = -0.4, and J = [[2, 0], [-0.8, 2]], JJᵀ = [[4, -1.6], [-1.6, 4.64]]
    neuron = LIF(threshold=1.0, decay=0.5, surrogate="rectangular", surrogate_scale=0.25)
    traces = exact_traces(neuron, torch.tensor([0.9, 0.5]).reshape(2, 1, 1))
    assert traces.tolist() == pytest.approx([8.64 / 2, (16 + 2 * 1.6**2 + 4.64**2) / 2], rel=1e-5)


# the estimate against the exact Jacobian


@given(st.integers(0, 50))
def test_the_estimate_is_that_of_the_exact_jacobian(seed):
    torch.manual_seed(seed)
    block = SpikingConv("block1", 2, (2, 3), None, lambda: LIF(surrogate="atan")).eval()
    x = bits(2, 1, 2, 3, 3, seed=seed)
    exact, found = exact_traces(block, x), estimate_traces(block, x, 300, seeded(seed))
    assert found[0].item() == pytest.approx(exact[0].item(), rel=0.15)
    assert found[1].item() == pytest.approx(exact[1].item(), rel=0.35)


def test_the_rows_are_the_exact_means_of_the_samples_in_the_network():
    torch.manual_seed(0)
    shape = {"input_shape": (2, 4, 4), "steps": 2, "classes": 3, "widths": (2, 2, 2), "pools": (1, 2, 1)}
    network = Conv3(**shape, hidden=(3,), neuron=lambda: LIF(surrogate="atan")).eval()
    frames, inputs = bits(2, 4, 2, 4, 4, rate=0.8), {}
    hooks = [
        block.register_forward_pre_hook(lambda _, given, name=name: inputs.update({name: given[0]}))
        for name, block in network.named_children()
    ]
    network(frames)
    for hook in hooks:
        hook.remove()
    rows = block_isometry(network, in_batches(frames, 3, 1), probes=400)
    assert [row.block for row in rows] == ["block1", "block2", "block3", "fc1", "fc2"]
    for row in rows:
        block = network.get_submodule(row.block)
        exact = torch.stack([exact_traces(block, sample) for sample in inputs[row.block].split(1, dim=1)]).mean(0)
        assert row.mean == pytest.approx(exact[0].item(), rel=0.1)
        assert row.mean > 0
        assert row.variance == pytest.approx((exact[1] - exact[0] ** 2).item(), rel=0.2, abs=1e-6)


class Gain(nn.Module):
    """Multiplies a sample by its own largest value, whose gradient is not followed."""

    def forward(self, x):
        return x * x.detach().amax((0, 2), keepdim=True)


def test_the_error_is_the_means_over_the_samples():
    frames = torch.ones(2, 4, 3) * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]
    [row] = block_isometry(Chain(Gain()), in_batches(frames, 3, 1), blocks=["blocks.0"])
    # φ is 1, 4, 9, 16 of the four samples: mean 7.5, deviations -6.5, -3.5, 1.5, 8.5, squares 129
    assert row.mean == pytest.approx(7.5)
    assert row.error == pytest.approx((129 / 3 / 4) ** 0.5)


def test_a_single_sample_has_no_error():
    [row] = block_isometry(Chain(Gain()), in_batches(torch.ones(2, 1, 3)), blocks=["blocks.0"])
    assert (row.mean, row.samples) == (pytest.approx(1), 1)
    assert math.isnan(row.error)


def test_a_block_inside_a_block_is_measured_as_if_alone():
    frames = torch.rand(2, 2, 3, generator=seeded())
    network = Chain(nn.Sequential(Gain(), Linear(2 * torch.eye(3))))
    rows = block_isometry(network, in_batches(frames), blocks=["blocks.0", "blocks.0.0", "blocks.0.1"])
    rows = {row.block: row for row in rows}
    assert [row.samples for row in rows.values()] == [2, 2, 2]
    squares = frames.amax((0, 2)).square()
    for block, factor in (("blocks.0.0", squares), ("blocks.0.1", torch.tensor([4.0, 4.0])), ("blocks.0", 4 * squares)):
        assert rows[block].mean == pytest.approx(float(factor.mean()))
        assert rows[block].error == pytest.approx(float(factor.std()) / 2**0.5)


def test_equal_seeds_give_equal_numbers_and_the_network_is_left_as_it_was(build):
    network, frames = build().train(), bits(4, 3, 2, 8, 8)
    first, second, other = (block_isometry(network, in_batches(frames), seed=seed) for seed in (0, 0, 1))
    assert first == second != other
    assert all(module.training and not module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


# which blocks


def test_blocks_are_the_children_that_spike_and_those_of_containers():
    network = Chain(
        nn.Sequential(SpikingConv("a", 1, (1, 1), None, LIF), SpikingConv("b", 1, (1, 1), None, LIF)),
        nn.Conv2d(1, 1, 1),
        SpikingConv("c", 1, (1, 1), None, LIF),
    )
    assert list(find_blocks(network)) == ["blocks.0.0", "blocks.0.1", "blocks.2"]
    assert list(find_blocks(network, ["blocks.0"])) == ["blocks.0"]
    assert list(find_blocks(Chain(nn.Sequential(nn.Identity(), LIF()), LIF()))) == ["blocks.0"]


def test_no_block_and_a_wrong_name_are_refused(relay):
    with pytest.raises(ValueError, match="Relay: no child holds a neuron layer"):
        find_blocks(relay)
    with pytest.raises(UnknownNameError, match="did you mean 'first'"):
        find_blocks(relay, ["frist"])
    with pytest.raises(UnknownNameError, match=r"no 'x'; there are: first, second$"):
        find_blocks(relay, ["x"])


@pytest.mark.parametrize("names", [[], "first"])
def test_names_that_are_no_list_of_them_are_refused(relay, names):
    with pytest.raises(OptionError, match=f"^blocks={re.escape(repr(names))}: must be a list of at least one"):
        find_blocks(relay, names)


def test_names_may_come_from_a_generator(relay):
    assert list(find_blocks(relay, (name for name in ("second", "first")))) == ["second", "first"]


def test_what_is_no_function_of_one_tensor_is_refused():
    class Mean(Linear):
        def forward(self, x):
            return super().forward(x).mean(1)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.relay = Mean(torch.eye(3)), Relay()

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(ValueError, match="inner: is not a function of one tensor"):
        block_isometry(Outer(), in_batches(torch.ones(2, 2, 3)), blocks=["inner"])


def test_no_sample_and_too_few_probes_are_refused(build):
    with pytest.raises(DataError, match="no sample"):
        block_isometry(build(), [])
    with pytest.raises(ValueError, match="probes=1"):
        block_isometry(build(), [], probes=1)


def test_a_block_that_lets_no_gradient_through_has_none():
    class Round(nn.Module):
        def forward(self, x):
            return x.detach().round()

    assert estimate_traces(Round(), torch.rand(1, 1, 3), 2, seeded()).tolist() == [0, 0]
    [row] = block_isometry(Chain(Round()), in_batches(torch.rand(1, 2, 3)), blocks=["blocks.0"])
    assert (row.mean, row.variance, row.error) == (0, 0, 0)
