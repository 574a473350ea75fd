"""The Triton kernels against the neurons' own step, on a GPU or interpreted: run by ``test_firing_cuda.py``.

In the interpreter they are put in place of those for CPUs, so that neurons call them, and autograd, with tensors that
are here. It is a process of its own since Triton is interpreted from its import on, or not at all.
"""

import os

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from quietspike.core.kernels import firing as op
from quietspike.core.kernels import reference
from quietspike.core.neurons import LIF, PLIF

from .test_firing import NEURONS, SURROGATES

HALVES = [torch.float16, torch.bfloat16]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
ROUNDING = {torch.float32: 1e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}  # of one number that is stored


@pytest.fixture(scope="module", autouse=True)
def launcher():
    from quietspike.core.kernels import firing_cuda

    assert (type(firing_cuda._forward).__name__ == "InterpretedFunction") == INTERPRETED
    if INTERPRETED:
        op.fire.register_kernel("cpu")(op.fire_on_gpu)
        op.fire_backward.register_kernel("cpu")(op.fire_backward_on_gpu)
    with torch.device(DEVICE):
        yield firing_cuda


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu").to(DEVICE, dtype)


def run(neuron, current, gradient):
    """Spikes, and the gradients of currents and parameters."""
    current = current.detach().requires_grad_()
    spikes = neuron(current)
    return spikes, *torch.autograd.grad(spikes, [current, *neuron.parameters()], gradient)


def agree(neuron, current):
    """Found are the plain twin's spikes, and its gradients as near as their type allows; its state is float32."""
    gradient = numbers(*current.shape, seed=9, dtype=current.dtype)
    with reference():
        expected = run(neuron, current.float(), gradient.float())
    spikes, *gradients = run(neuron, current, gradient)
    assert spikes.dtype == gradients[0].dtype == current.dtype
    assert torch.equal(spikes.float(), expected[0])
    for found, known in zip(gradients, expected[1:], strict=True):
        error = (found.float() - known).abs() / known.abs().max().clamp(min=1)
        assert error.max() <= ROUNDING[found.dtype]
    return spikes


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("name", NEURONS)
def test_spikes_are_the_same_and_gradients_agree(name, surrogate, detached):
    neuron = NEURONS[name](surrogate=surrogate, detach_reset=detached)
    spikes = agree(neuron, numbers(7, 3, 2, 5, 7))  # 210 neurons: a block and a part of one
    assert 0.1 < spikes.mean() < 0.9


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    name=st.sampled_from(sorted(NEURONS)),
    surrogate=st.sampled_from(SURROGATES),
    dtype=st.sampled_from(list(ROUNDING)),
    threshold=st.floats(0.05, 2),
    seed=st.integers(0, 2**16),
)
def test_any_shape_type_and_threshold(shape, name, surrogate, dtype, threshold, seed):
    neuron = NEURONS[name](surrogate=surrogate)
    neuron.threshold = threshold
    agree(neuron, numbers(*shape, seed=seed, dtype=dtype))


@pytest.mark.parametrize(
    "neuron", [LIF(decay=0.5, threshold=0.5), LIF(decay=0.5, threshold=0.5, reset="subtract"), PLIF(threshold=0.5)]
)
def test_a_potential_equal_to_the_threshold_fires(neuron):
    agree(neuron, numbers(6, 2, 80).mul(2).round() / 4)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["code", "plif"])
def test_half_numbers_keep_their_state_in_float32(name, dtype):
    agree(NEURONS[name](), numbers(20, 2, 50, dtype=dtype))


@pytest.mark.parametrize("name", ["code", "plif"])
def test_many_steps(name):
    agree(NEURONS[name](), numbers(64, 3, 5))


@pytest.mark.parametrize("name", ["code", "plif", "plif, to a value"])
def test_programs_that_go_over_several_blocks_change_nothing(name, launcher, monkeypatch):
    neuron, current = NEURONS[name](), numbers(5, 1, 83)
    gradient = numbers(5, 1, 83, seed=9)
    whole = run(neuron, current, gradient)
    for limit, value in {"SHORTEST": 16, "LONGEST": 16, "PROGRAMS": 4}.items():
        monkeypatch.setattr(launcher, limit, value)  # six blocks, the last of three neurons
    parted, again = run(neuron, current, gradient), run(neuron, current, gradient)
    assert all(torch.equal(one, other) for one, other in zip(parted, again, strict=True))
    assert torch.equal(whole[0], parted[0])
    assert torch.equal(whole[1], parted[1])
    torch.testing.assert_close(whole[2:], parted[2:], rtol=1e-6, atol=1e-6)


def test_each_program_has_a_scratch_and_a_sum_of_its_own(launcher, monkeypatch):
    own = []

    class Watched:
        def __getitem__(self, grid):
            def launch(*given, **constants):
                own.extend(tensor.fill_(torch.nan) for tensor in (given[3], given[4]))
                backward[grid](*given, **constants)

            return launch

    backward = launcher._backward
    monkeypatch.setattr(launcher, "_backward", Watched())
    agree(PLIF(threshold=0.4), numbers(5, 1, 300))
    assert [tensor.shape for tensor in own] == [(3, 5, 128), (3,)]
    assert not any(tensor.isnan().any() for tensor in own)  # programs run at once on a GPU, and here one after another


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_the_order_in_memory_is_kept(dtype):
    given = numbers(4, 3, 6, 5, 7, dtype=dtype)
    current = given.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 3))
    spikes = agree(LIF(), current)
    assert spikes.stride() == current.stride()
    agree(PLIF(threshold=0.3), current)
    agree(LIF(), given.transpose(2, 4))
    assert agree(PLIF(threshold=0.3), given[..., ::2]).is_contiguous()


def test_a_gradient_that_is_one_number_seen_everywhere():
    current = numbers(5, 2, 9).requires_grad_()
    LIF(surrogate="atan")(current).sum().backward()
    with reference():
        [expected] = torch.autograd.grad(LIF(surrogate="atan")(current).sum(), current)
    torch.testing.assert_close(current.grad, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (1, 1)])
@pytest.mark.parametrize("name", ["code", "plif"])
def test_little_or_nothing_to_do_is_done(name, shape):
    neuron, current = NEURONS[name](), torch.zeros(shape, requires_grad=True)
    spikes = neuron(current)
    assert spikes.shape == shape
    assert not spikes.any()
    for found in torch.autograd.grad(spikes, [current, *neuron.parameters()], torch.zeros_like(spikes)):
        assert not found.any()


def test_a_leak_in_another_type_gets_its_gradient_in_that():
    neuron = PLIF(threshold=0.4).bfloat16()
    _, _, found = run(neuron, numbers(5, 2, 9), numbers(5, 2, 9, seed=9))
    assert found.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32])
def test_numbers_of_another_type_are_refused(dtype, launcher):
    constants = None, 0.3, 0.3, 0.0, False, "atan", 2.0, False
    with pytest.raises(TypeError, match="no kernel on a GPU for"):
        launcher.fire(torch.zeros(3, 2, dtype=dtype), *constants)
    with pytest.raises(TypeError, match="no kernel on a GPU for"):
        launcher.fire_backward(torch.zeros(3, 2), torch.zeros(3, 2, dtype=dtype), *constants)
