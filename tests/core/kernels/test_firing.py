"""The operator of leaky neurons against the neurons' own step, called T times."""

import os
import subprocess
import sys

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from quietspike.core import UnknownNameError
from quietspike.core.kernels import VARIABLE, fused, reference
from quietspike.core.kernels import firing as op
from quietspike.core.liaf import LIAF
from quietspike.core.neurons import LIF, PLIF

SURROGATES = ["rectangular", "atan", "sigmoid", "fast_sigmoid"]
NEURONS = {
    "code": lambda **options: LIF(reset="code", reset_value=0.1, **options),
    "paper": lambda **options: LIF(reset="paper", reset_value=-0.2, **options),
    "to zero": lambda **options: LIF(decay=0.7, **options),
    "subtract": lambda **options: LIF(reset="subtract", **options),
    "plif": lambda **options: PLIF(threshold=0.4, **options),
    "plif, to a value": lambda **options: PLIF(threshold=0.4, tau=3.0, reset_value=0.2, **options),
}


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def run(neuron, current, gradient):
    """Spikes, and the gradients of currents and parameters."""
    current = current.detach().requires_grad_()
    spikes = neuron(current)
    found = torch.autograd.grad(spikes, [current, *neuron.parameters()], gradient)
    return spikes, found[0], torch.stack(found[1:]) if found[1:] else torch.zeros(0)


def agree(neuron, current, tolerance=1e-6):
    gradient = numbers(*current.shape, seed=9, dtype=current.dtype)
    with reference():
        expected = run(neuron, current, gradient)
    spikes, *gradients = run(neuron, current, gradient)
    assert torch.equal(spikes, expected[0])
    for found, known in zip(gradients, expected[1:], strict=True):
        scale = float(known.abs().max()) if known.numel() else 1.0
        torch.testing.assert_close(found, known, rtol=0, atol=tolerance * max(1.0, scale))
    return spikes


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("name", NEURONS)
def test_spikes_are_the_same_and_gradients_agree(name, surrogate, detached):
    neuron = NEURONS[name](surrogate=surrogate, detach_reset=detached)
    spikes = agree(neuron, numbers(9, 3, 2, 5, 4))
    assert 0.1 < spikes.mean() < 0.9


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    name=st.sampled_from(sorted(NEURONS)),
    threshold=st.floats(0.05, 2),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_threshold(shape, name, threshold, seed):
    neuron = NEURONS[name](surrogate="atan").double()
    neuron.threshold = threshold
    agree(neuron, numbers(*shape, seed=seed, dtype=torch.float64), 1e-12)


@pytest.mark.parametrize("name", ["code", "plif"])
def test_parts_and_threads_change_nothing(name, monkeypatch):
    neuron, current = NEURONS[name](), numbers(5, 3, 8, 20, 20)
    gradient = torch.ones_like(current)
    whole = run(neuron, current, gradient)
    monkeypatch.setattr(op, "LONGEST", 256)
    monkeypatch.setattr(op, "SHORTEST", 64)
    parted = run(neuron, current, gradient)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        threaded = run(neuron, current, gradient)
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(parted, threaded, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(whole[0], parted[0])
    assert torch.equal(whole[1], parted[1])
    torch.testing.assert_close(whole[2], parted[2])


def test_the_order_in_memory_is_kept():
    current = numbers(4, 3, 6, 5, 7).flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (4, 3))
    spikes = agree(LIF(), current)
    assert spikes.stride() == current.stride()
    agree(LIF(), numbers(4, 3, 6, 5, 7).transpose(2, 4))
    strided = numbers(4, 3, 6, 14)[..., ::2]
    assert agree(PLIF(threshold=0.3), strided).is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_numbers_keep_their_state_in_float32(dtype):
    neuron, current = LIF(), numbers(20, 2, 50, dtype=dtype)
    with reference():
        expected = neuron(current.float())
    spikes = neuron(current)
    assert spikes.dtype == dtype
    assert torch.equal(spikes.float(), expected)


@pytest.mark.parametrize("name", NEURONS)
def test_bfloat16_is_read_and_written_as_float32_rounded(name):
    neuron = NEURONS[name](surrogate="sigmoid")
    current, gradient = (numbers(9, 3, 2, 5, 40, seed=seed, dtype=torch.bfloat16) for seed in (0, 9))
    spikes, by_current, by_leak = run(neuron, current, gradient)
    expected, wide, leak = run(neuron, current.float(), gradient.float())
    assert spikes.dtype == by_current.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), expected)
    assert torch.equal(by_current, wide.bfloat16())
    torch.testing.assert_close(by_leak, leak, rtol=1e-5, atol=1e-5)


def test_infinite_and_unknown_gradients_stay_so_in_bfloat16():
    current = torch.full((1, 1, 4), 0.2, dtype=torch.bfloat16)
    gradient = torch.tensor([[[float("nan"), float("inf"), -float("inf"), 3e38]]], dtype=torch.bfloat16)
    found = run(LIF(surrogate="atan", surrogate_scale=2.0), current, gradient)[1]
    assert found.isnan().tolist() == [[[True, False, False, False]]]
    assert found.isinf().tolist() == [[[False, True, True, False]]]


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (1, 1)])
def test_nothing_to_do_is_done(shape):
    assert LIF()(torch.zeros(shape)).shape == shape


def test_it_is_an_operator_of_torch():
    arguments = (numbers(5, 2, 6), None, 0.3, 0.3, 0.0, False, "atan", 2.0, False)
    torch.library.opcheck(
        op.fire, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )
    current, leak = numbers(5, 2, 6).requires_grad_(), torch.tensor(0.4, requires_grad=True)
    torch.library.opcheck(op.fire, (current, leak, *arguments[2:]), test_utils=("test_schema", "test_faketensor"))


def test_what_it_cannot_do_is_done_step_by_step(monkeypatch):
    def refuse(*given, **named):
        raise AssertionError

    monkeypatch.setattr("quietspike.core.neurons.fire_all", refuse)
    current = numbers(4, 2, 3)
    for neuron in (LIF(surrogate="snntorch.atan"), LIF(membrane=torch.nn.ReLU()), LIAF()):
        assert neuron(current).shape == current.shape
    with pytest.raises(AssertionError):
        LIF()(current)
    with reference():
        LIF()(current)
    monkeypatch.setenv(VARIABLE, "reference")
    LIF()(current)
    monkeypatch.setenv(VARIABLE, "referense")
    with pytest.raises(UnknownNameError, match=r"^QUIETSPIKE_KERNELS: no 'referense'; did you mean 'reference'\?$"):
        fused(current)


def test_torch_compile_sees_the_plain_twin(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not fused(numbers(4, 2, 3))


def test_a_subclass_keeps_its_own_step():
    class Shy(LIF):
        def step(self, current, state):
            spikes, state = super().step(current, state)
            return 0 * spikes, state

    assert not Shy()(torch.ones(3, 2, 4)).any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_it_works_in_a_process_that_was_forked():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        current = numbers(3, 4, 20_000)
        expected = LIF()(current).numpy().tobytes()  # torch's own threads do not survive a fork
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, b"1" if LIF()(current).numpy().tobytes() == expected else b"0")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 1) == b"1"
    finally:
        torch.set_num_threads(threads)


COMPILED = """
import sys, torch
from quietspike.core.kernels import firing_cpu
from quietspike.core.neurons import LIF
x = torch.zeros(2, 1, 3, requires_grad=True)
LIF()(x).sum().backward()
import numpy as np
kernels = firing_cpu.forward_kernel(False, False, np.float32), firing_cpu.backward_kernel(
    False, False, "rectangular", False, np.float32
)
print(*(sum(kernel.stats.cache_hits.values()) for kernel in kernels))
"""


def test_what_was_compiled_is_found_by_the_next_process(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run([sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [process.stdout.split() for process in found] == [["0", "0"], ["1", "1"]]
