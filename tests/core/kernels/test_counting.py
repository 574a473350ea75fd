"""Counts in one pass against torch's comparisons."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from quietspike.core.kernels import reference
from quietspike.core.kernels.counting import count_inputs, count_steps

TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def mixed(shape, seed, dtype, *, graded):
    """Zeros of both signs, ones, and other numbers if wanted."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([0.0, -0.0, 0.0, 1.0, *([-1.0, 0.25, float("nan")] if graded else [])])
    return values[torch.randint(len(values), shape, generator=generator)].to(dtype)


@settings(deadline=None, max_examples=80)
@given(
    shape=st.lists(st.integers(0, 7), min_size=2, max_size=5),
    dtype=st.sampled_from(TYPES),
    seed=st.integers(0, 2**16),
)
def test_spikes_of_each_step(shape, dtype, seed):
    x = mixed(shape, seed, dtype, graded=True)
    with reference():
        expected = count_steps(x)
    found = count_steps(x)
    assert found.dtype == torch.int64
    assert torch.equal(found, expected)
    assert expected.tolist() == [int((step != 0).sum()) for step in x]


@settings(deadline=None, max_examples=120)
@given(
    shape=st.tuples(*(st.integers(1, high) for high in (5, 6, 9, 7))),
    dtype=st.sampled_from(TYPES),
    flat=st.booleans(),
    last=st.booleans(),
    graded=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_inputs_and_what_they_meet(shape, dtype, flat, last, graded, seed):
    x = mixed(shape, seed, dtype, graded=graded)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    fan_out = 17 if flat else torch.randint(1, 2**20, shape[2:], generator=torch.Generator().manual_seed(seed))
    with reference():
        expected = count_inputs(x, fan_out)
    found = count_inputs(x, fan_out)
    assert [int(value) for value in found] == [int(value) for value in expected]


@pytest.mark.parametrize("threads", [1, 3])
def test_large_ones_in_parts(threads):
    x = mixed((3, 2, 70, 40, 30), 0, torch.float32, graded=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, inputs = count_steps(x), count_inputs(x, 3)
    finally:
        torch.set_num_threads(before)
    assert found.tolist() == [int(step.sum()) for step in x]
    assert (int(inputs[0]), int(inputs[1]), bool(inputs[2])) == (int(x.sum()), 3 * int(x.sum()), False)
