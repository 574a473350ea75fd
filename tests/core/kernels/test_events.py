"""The convolution over active inputs against torch's dense one."""

import os

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from quietspike.core.kernels.events import Rows, gather


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def sparse(*shape, density=0.1, graded=False, seed=0, dtype=torch.float64):
    """Spikes, or values of any kind, in a share of the places."""
    active = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    return (active * drawn(*shape, seed=seed + 1) if graded else active).to(dtype)


def agree(x, weight, bias, stride=(1, 1), padding=(0, 0)):
    expected = functional.conv2d(x, weight, bias, stride, padding)
    found = gather(x, Rows.of(weight, bias, stride, padding))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.dtype == x.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 if x.dtype == torch.float64 else 1e-4)
    return found


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=150)
@given(
    frames=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 35)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (7, 7), (3, 1), (2, 5)]),
    stride=pairs,
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    density=st.sampled_from([0.0, 0.02, 0.2, 1.0]) | st.floats(0, 1),
    graded=st.booleans(),
    biased=st.booleans(),
    last=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_convolution(frames, channels, size, kernel, stride, padding, density, graded, biased, last, seed):
    padding = tuple(max(pad, -((side - extent) // 2)) for pad, side, extent in zip(padding, size, kernel, strict=True))
    x = sparse(frames, channels[0], *size, density=density, graded=graded, seed=seed)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    bias = drawn(channels[1], seed=seed + 2) if biased else None
    agree(x, drawn(channels[1], channels[0], *kernel, seed=seed + 3), bias, stride, padding)


@pytest.mark.parametrize("out", [1, 4, 11, 16, 64, 130])
def test_float32_and_any_number_of_outputs(out):
    x = sparse(6, 16, 9, 9, density=0.3, dtype=torch.float32)
    agree(x, drawn(out, 16, 3, 3, dtype=torch.float32), drawn(out, dtype=torch.float32), padding=(1, 1))


def test_the_silent_give_the_bias_and_none_gives_none():
    bias = drawn(5)
    found = agree(torch.zeros(2, 3, 4, 4, dtype=torch.float64), drawn(5, 3, 3, 3), bias, padding=(1, 1))
    assert torch.equal(found, bias[:, None, None].expand(2, 5, 4, 4))
    agree(torch.zeros(0, 3, 4, 4, dtype=torch.float64), drawn(5, 3, 3, 3), bias)


def test_parts_of_memory_are_read_as_they_are():
    x = sparse(4, 6, 8, 16, density=0.3)
    agree(x[::2, 1:4, :, ::2], drawn(7, 3, 3, 3), None, padding=(1, 1))
    agree(x.transpose(2, 3), drawn(7, 6, 3, 3)[:, :, :, :2], None)


def test_what_is_no_number_stays_none():
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = torch.nan
    assert gather(x, Rows.of(torch.ones(2, 1, 1, 1), None)).isnan().sum() == 2


def test_weights_are_copied():
    weight, bias = drawn(2, 2, 1, 1), drawn(2)
    rows = Rows.of(weight, bias)
    x = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    before = gather(x, rows)
    weight.zero_()
    bias.zero_()
    assert torch.equal(gather(x, rows), before)


def test_threads_change_nothing():
    x = sparse(7, 5, 13, 11, density=0.2, dtype=torch.float32)
    rows = Rows.of(drawn(20, 5, 3, 3, dtype=torch.float32), None, (2, 1), (1, 1))
    threads = torch.get_num_threads()
    expected = gather(x, rows)
    try:
        for number in (2, 3, 16):
            torch.set_num_threads(number)
            assert torch.equal(gather(x, rows), expected)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.cat([gather(frame, rows) for frame in x.split(1)]), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_it_works_in_a_process_that_was_forked():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x, rows = sparse(4, 8, 16, 16), Rows.of(drawn(16, 8, 3, 3), None, padding=(1, 1))
        expected = gather(x, rows).numpy().tobytes()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, b"1" if gather(x, rows).numpy().tobytes() == expected else b"0")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 1) == b"1"
    finally:
        torch.set_num_threads(threads)
