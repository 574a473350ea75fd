"""What holds for every attention that is registered, ours or anyone's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quietspike.core import ATTENTION, Choice, Site
from quietspike.core.placement import build_attention

NAMES = ATTENTION.names()
SIZES = st.tuples(*(st.integers(1, high) for high in (4, 4, 5, 6, 6)))


def built(name, shape, seed=0, **options):
    """In evaluation mode at a convolution's current, with weights of that seed."""
    site = Site("block1.current", "current", steps=shape[0], channels=shape[2], spatial=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_attention(Choice.of({"name": name, **options}), site).eval()


def features(shape, seed, binary=False):
    """Currents, or spikes: many silent channels and equal values."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(shape, generator=generator).gt(0.8).float() if binary else torch.randn(shape, generator=generator)
    )


def random_case(**extra):
    return given(shape=SIZES, seed=st.integers(0, 2**16), binary=st.booleans(), **extra)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@random_case(data=st.data())
def test_a_sample_depends_on_itself_alone(name, shape, seed, binary, data):
    module, x = built(name, shape, seed), features(shape, seed, binary)
    order = data.draw(st.permutations(range(shape[1])))
    together = module(x)
    torch.testing.assert_close(module(x[:, order]), together[:, order], rtol=1e-5, atol=1e-6)
    for b in range(shape[1]):
        torch.testing.assert_close(module(x[:, b : b + 1]), together[:, b : b + 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["ta", "ta_snn"])
@settings(deadline=None, max_examples=60)
@given(shape=st.tuples(*(st.integers(1, 5) for _ in range(3))), seed=st.integers(0, 2**16))
def test_a_sample_depends_on_itself_alone_in_a_fully_connected_layer(name, shape, seed):
    site = Site("fc1.current", "current", steps=shape[0], channels=shape[2], spatial=False)
    module, x = build_attention(Choice(name), site), features(shape, seed)
    together = module(x)
    assert together.shape == x.shape
    for b in range(shape[1]):
        torch.testing.assert_close(module(x[:, b : b + 1]), together[:, b : b + 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@random_case()
def test_any_shape_keeps_its_shape_and_its_input(name, shape, seed, binary):
    module, x = built(name, shape, seed), features(shape, seed, binary)
    before = x.clone()
    out = module(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.isfinite().all()
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=10)
@random_case()
def test_a_call_leaves_nothing_behind(name, shape, seed, binary):
    module, x = built(name, shape, seed), features(shape, seed, binary)
    first = module(x)
    module(features(shape, seed + 1))
    assert torch.equal(module(x), first)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name):
    shape = (3, 2, 4, 3, 3)
    module = built(name, shape, seed=1).double()
    x = features(shape, seed=2).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    shape = (20, 2, 32, 5, 5)
    module, x = built(name, shape), features(shape, seed=3).requires_grad_()
    module(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    for parameter, value in module.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_carries_all_there_is(name):
    shape = (4, 2, 6, 5, 5)
    first, second = built(name, shape, seed=1), built(name, shape, seed=2)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(features(shape, 5)), first(features(shape, 5)))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_of_the_seed(name):
    first, second = built(name, (4, 2, 6, 5, 5), seed=7), built(name, (4, 2, 6, 5, 5), seed=7)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_builds_without_memory(name):
    with torch.device("meta"):
        module = built(name, (60, 1, 128, 1, 1))
    assert all(value.is_meta for value in module.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_silence_stays_silent(name):
    shape = (4, 2, 6, 5, 5)
    assert torch.equal(built(name, shape)(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("name", NAMES)
def test_macs_are_whole_numbers_of_one_sample(name):
    module = built(name, (4, 2, 6, 5, 5))
    if not hasattr(module, "macs"):
        pytest.skip(f"{name} leaves its count to the cost model")
    macs = module.macs((4, 6, 5, 5))
    assert all(isinstance(count, int) and count >= 0 for count in macs)
    assert macs.applying % (4 * 6 * 5 * 5) == 0
