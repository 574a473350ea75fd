"""Attention from the statistics of planes and places against the same attention gate by gate."""

from functools import partial

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from quietspike.attention import ASA, ca, cbam, csa, eca, joint, sa, se, ta, tca, tcsa, tsa
from quietspike.core import Site
from quietspike.core.kernels import reference

VARIANTS = {"ta": ta, "ca": ca, "sa": sa, "tca": tca, "tsa": tsa, "csa": csa, "tcsa": tcsa}
OTHERS = {"asa": ASA, "cbam": partial(cbam, spatial=True), "eca": eca, "se": se}
PLUGINS = VARIANTS | OTHERS


def build(name, shape, seed=0, dtype=torch.float64, **options):
    site = Site("block1.current", "current", steps=shape[0], channels=shape[2], spatial=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PLUGINS[name](site, **options).to(dtype)


def features(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def rounded(x):
    """Many equal features; none of their averages is 0, where a ReLU's gradient is decided by rounding."""
    return x.round() + 0.1234567


def run(module, x, gradient, *, by_features=True):
    """The gated features, and the gradients of features and parameters."""
    x = x.detach().requires_grad_(by_features)
    out = module(x)
    wanted = [*module.parameters(), *([x] if by_features else [])]
    return out, *torch.autograd.grad(out, wanted, gradient)


def agree(module, x, tolerance=1e-9, **options):
    gradient = features(*x.shape, seed=5, dtype=x.dtype)
    with reference():
        expected = run(module, x, gradient, **options)
    for found, known in zip(run(module, x, gradient, **options), expected, strict=True):
        assert found.shape == known.shape
        torch.testing.assert_close(found, known, rtol=0, atol=tolerance * max(1.0, float(known.detach().abs().max())))


@settings(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(sorted(VARIANTS)),
    shape=st.tuples(*(st.integers(1, high) for high in (5, 3, 9, 7, 6))),
    per_step=st.booleans(),
    relu=st.booleans(),
    ties=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_outputs_and_gradients_are_those_of_gate_by_gate(name, shape, per_step, relu, ties, seed):
    options = {"relu": relu} if name == "ta" else {"relu": relu, "per_step": per_step}
    x = features(*shape, seed=seed)
    agree(build(name, shape, seed, **options), rounded(x) if ties else x)


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(sorted(OTHERS)),
    shape=st.tuples(*(st.integers(1, high) for high in (5, 3, 9, 7, 6))),
    important=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    ties=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_others_too_are_those_of_gate_by_gate(name, shape, important, ties, seed):
    options = {"important": important} if name == "asa" else {"per_step": important < 0.5}
    x = features(*shape, seed=seed)
    agree(build(name, shape, seed, **options), rounded(x) if ties else x)


@pytest.mark.parametrize("name", PLUGINS)
def test_in_float32_within_rounding(name):
    shape = (6, 3, 48, 20, 17)
    agree(build(name, shape, dtype=torch.float32), features(*shape, dtype=torch.float32), 2e-5)


@pytest.mark.parametrize("name", PLUGINS)
def test_bfloat16_is_read_and_written_as_float32_rounded(name):
    shape = (6, 3, 48, 20, 17)
    module = build(name, shape, dtype=torch.float32)
    x, gradient = (features(*shape, seed=seed, dtype=torch.bfloat16) for seed in (1, 5))
    *parameters, by_features = run(module, x, gradient)[1:]
    *others, wide = run(module, x.float(), gradient.float())[1:]
    with torch.no_grad():
        assert torch.equal(module(x), module(x.float()).bfloat16())
    assert torch.equal(by_features, wide.bfloat16())
    for one, other in zip(parameters, others, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", PLUGINS)
def test_any_order_in_memory(name):
    shape = (4, 2, 6, 5, 7)
    module, x = build(name, shape), features(*shape)
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])
    assert module(last).stride() == last.stride()
    for other in (last, x.transpose(0, 1).contiguous().transpose(0, 1), features(4, 2, 6, 5, 14)[..., ::2]):
        agree(module, other)


@pytest.mark.parametrize("name", PLUGINS)
def test_features_that_need_no_gradient_and_gates_that_learn_none(name):
    shape = (4, 2, 6, 5, 7)
    module, x = build(name, shape), features(*shape)
    agree(module, x, by_features=False)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    x.requires_grad_()
    gradient = features(*shape, seed=5)
    with reference():
        (expected,) = torch.autograd.grad(module(x), x, gradient)
    torch.testing.assert_close(torch.autograd.grad(module(x), x, gradient)[0], expected)
    with torch.no_grad():
        assert not module(x).requires_grad


@pytest.mark.parametrize("per_step", [False, True])
def test_threads_change_nothing(per_step):
    shape = (5, 3, 6, 16, 16)
    module, x = build("tcsa", shape, per_step=per_step), features(*shape)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(run(module, x, features(*shape, seed=5)))
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *found))


def test_half_numbers_come_back_as_such():
    shape = (4, 2, 6, 5, 7)
    module, x = build("tcsa", shape, dtype=torch.float32), features(*shape, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, *gradients = run(module, x.bfloat16(), torch.ones(shape, dtype=torch.bfloat16))
    expected, *known = run(module, x, torch.ones(shape))
    assert (out.dtype, gradients[-1].dtype) == (torch.bfloat16, torch.bfloat16)
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(gradients[-1].float(), known[-1], rtol=0.05, atol=0.1)


def test_what_is_not_finite_is_seen_in_the_output():
    shape = (3, 2, 4, 5, 5)
    x = features(*shape)
    x[1, 0, 2, 3, 3] = float("nan")
    out = build("tcsa", shape)(x)
    assert out[:, 0].isnan().any()
    assert out[:, 1].isfinite().all()


@pytest.mark.parametrize("name", PLUGINS)
def test_a_second_derivative_is_refused_and_not_wrong(name):
    shape = (3, 2, 4, 5, 5)
    x = features(*shape).requires_grad_()
    (first,) = torch.autograd.grad(build(name, shape)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
    with reference():
        (first,) = torch.autograd.grad(build(name, shape)(x).square().sum(), x, create_graph=True)
        first.sum().backward()
    assert x.grad.isfinite().all()


def test_the_kernels_are_what_runs(monkeypatch):
    shape = (3, 2, 4, 5, 5)
    monkeypatch.setattr(joint.MultiDimensionalAttention, "_gate_at_once", lambda self, x: torch.full_like(x, 7))
    assert build("tcsa", shape)(features(*shape)).eq(7).all()
    with reference():
        assert not build("tcsa", shape)(features(*shape)).eq(7).any()


@pytest.mark.parametrize("name", PLUGINS)
def test_features_that_are_changed_before_the_gradient_are_noticed(name):
    shape = (4, 2, 6, 5, 7)
    x = features(*shape).requires_grad_()
    changed = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, shape[:2])
    out = build(name, shape)(changed)
    changed.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("name", PLUGINS)
def test_wholly_in_bfloat16_it_is_the_plain_twin(name):
    shape = (4, 2, 6, 5, 7)
    module, x = build(name, shape, dtype=torch.bfloat16), features(*shape, dtype=torch.bfloat16)
    with reference():
        expected = module(x)
    assert torch.equal(module(x), expected)
