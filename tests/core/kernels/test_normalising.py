"""Batch normalisation with pooling in few passes, against torch's own layers one after the other."""

import copy
import re

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from quietspike.core.kernels import reference
from quietspike.core.norm import PooledNorm


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def layers(channels, pool, dtype=torch.float64):
    """Ours, and torch's with the same weights."""
    ours = PooledNorm(channels, pool).to(dtype)
    with torch.no_grad():
        ours.weight.copy_(numbers(channels, seed=1))
        ours.bias.copy_(numbers(channels, seed=2))
    norm = nn.BatchNorm2d(channels).to(dtype)
    norm.load_state_dict(ours.state_dict())
    return ours, nn.Sequential(norm, nn.AvgPool2d(pool)) if pool > 1 else nn.Sequential(norm)


def run(layer, x, seed=3):
    x = x.detach().requires_grad_()
    out = layer(x)
    return out, torch.autograd.grad(out, [x, *layer.parameters()], numbers(*out.shape, seed=seed, dtype=out.dtype))


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 5),
    channels=st.integers(1, 7),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    pool=st.integers(1, 4),
    last=st.booleans(),
    offset=st.sampled_from([0.0, 50.0, -1e3]),
    momentum=st.sampled_from([0.1, 0.5, None]),
    seed=st.integers(0, 2**16),
)
def test_as_torch_in_both_modes(frames, channels, height, width, pool, last, offset, momentum, seed):
    pool = min(pool, height, width)
    ours, theirs = layers(channels, pool)
    ours.momentum = theirs[0].momentum = momentum
    x = numbers(frames, channels, height, width, seed=seed) + offset
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    for _ in range(2):  # the running moments of the first count in the second
        (out, found), (expected, known) = run(ours, x), run(theirs, x)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-9)
        for one, other in zip(found, known, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9 * max(1.0, float(other.abs().max())))
    for name, value in theirs[0].state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-10, atol=1e-10)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-9 * max(1.0, abs(offset)))
    for one, other in zip(run(ours, x)[1], run(theirs, x)[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_float32_keeps_its_digits(offset):
    ours, theirs = layers(16, 2, torch.float32)
    x = numbers(64, 16, 24, 24, dtype=torch.float32) + offset
    out, found = run(ours, x)
    exact, known = run(copy.deepcopy(theirs).double(), x.double())
    _, rounded = run(theirs, x)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2e-5 if offset else 2e-6)
    for one, other, torchs in zip(found, known, rounded, strict=True):
        scale = float(other.abs().max())
        allowed = max(1e-6 * scale, 2 * float((torchs.double() - other).abs().max()))
        assert float((one.double() - other).abs().max()) <= allowed


def test_bfloat16_is_float32_rounded_at_the_ends():
    ours, theirs = layers(8, 2, torch.float32)
    x = numbers(6, 8, 10, 10, dtype=torch.bfloat16)
    out, (found, *parameters) = run(ours, x)
    expected, (known, *others) = run(theirs, x.float())
    assert out.dtype == found.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found.float(), known, rtol=2e-2, atol=1e-2 * float(known.abs().max()))
    for one, other in zip(parameters, others, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2 * float(other.abs().max()))


def test_without_kernels_it_is_torchs_own():
    ours, theirs = layers(3, 2)
    x = numbers(2, 3, 5, 5)
    with reference():
        assert torch.equal(ours(x), theirs(x))


def test_one_value_a_channel_is_refused_as_by_torch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        PooledNorm(3)(torch.zeros(1, 3, 1, 1))


def test_a_second_derivative_is_refused():
    ours, _ = layers(2, 1)
    x = numbers(2, 2, 3, 3).requires_grad_()
    (first,) = torch.autograd.grad(ours(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (2, 8, 5, 5), (2, 4, 1, 5), (4, 5, 5)])
@pytest.mark.parametrize("training", [False, True])
def test_frames_that_do_not_fit_are_refused_as_by_torch(shape, training):
    ours, theirs = layers(4, 2)
    with torch.no_grad(), pytest.raises((RuntimeError, ValueError)) as expected:
        theirs.train(training)(numbers(*shape))
    with torch.no_grad(), pytest.raises(expected.type, match=re.escape(str(expected.value))):
        ours.train(training)(numbers(*shape))


def test_one_far_value_costs_no_digits():
    x = numbers(32, 1, 64, 64, dtype=torch.float32)
    x[0, 0, 0, 0] = 1e4
    ours, theirs = layers(1, 1, torch.float32)
    with torch.no_grad():
        exact = theirs.double()(x.double())
        assert float((ours(x) - exact).abs().max() / exact.abs().max()) < 1e-6


def test_a_bias_alone_learns_in_evaluation_mode():
    ours, theirs = layers(3, 2)
    x, gradients = numbers(2, 3, 6, 6), []
    for layer, bias in ((ours, ours.bias), (theirs, theirs[0].bias)):
        for parameter in layer.parameters():
            parameter.requires_grad_(parameter is bias)
        (gradient,) = torch.autograd.grad(layer.eval()(x).sum(), bias)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_sees_the_plain_twin():
    ours, x = PooledNorm(4, 2).eval(), torch.randn(2, 4, 6, 6)
    traced = torch.jit.trace(ours, x)
    torch.testing.assert_close(traced(x + 1), ours(x + 1))


@pytest.mark.parametrize("training", [False, True])
def test_weights_of_half_precision_are_read_as_they_are(training):
    ours, theirs = layers(4, 2, torch.bfloat16)
    for norm in (ours, theirs[0]):
        norm.running_mean.fill_(0.3)
        norm.running_var.fill_(2.0)
    x = numbers(3, 4, 6, 6, dtype=torch.bfloat16)
    with torch.no_grad():
        found, known = ours.train(training)(x), theirs.train(training)(x)
    torch.testing.assert_close(found, known, rtol=2e-2, atol=2e-2)
