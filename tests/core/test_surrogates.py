import inspect
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import snntorch.surrogate
import torch
from hypothesis import given

from quietspike.core.errors import OptionError, UnknownNameError
from quietspike.core.surrogates import SURROGATES, surrogate

GRID = torch.cat([torch.linspace(-3, 3, 241), torch.tensor([-0.25, 0.25, 0.0, -1e-8, 1e-8])])

FORMULAS = {
    "rectangular": lambda x, a: np.where(np.abs(x) < a, 1 / (2 * a), 0),
    "atan": lambda x, a: a / (2 * (1 + (np.pi * a * x / 2) ** 2)),
    "sigmoid": lambda x, a: a * np.exp(-a * np.abs(x)) / (1 + np.exp(-a * np.abs(x))) ** 2,
    "fast_sigmoid": lambda x, a: (1 + a * np.abs(x)) ** -2.0,
}
DEFAULT_SCALES = {"rectangular": 0.25, "atan": 2.0, "sigmoid": 4.0, "fast_sigmoid": 25.0}

WITHOUT_SCALE = ["straight_through_estimator", "heaviside"]
SCALE_OF = {
    "triangular": "threshold",
    "fast_sigmoid": "slope",
    "atan": "alpha",
    "sigmoid": "slope",
    "spike_rate_escape": "slope",
    "SFS": "slope",
    "SSO": "variance",
}


def derivative_of(spike, x=GRID):
    x = x.clone().requires_grad_()
    torch.manual_seed(0)  # snnTorch's SSO draws its gradient
    spike(x).sum().backward()
    return x.grad


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("scale", [None, 0.5, 3.0])
def test_the_derivative_is_its_formula(name, scale):
    expected = FORMULAS[name](GRID.double().numpy(), scale or DEFAULT_SCALES[name])
    np.testing.assert_allclose(derivative_of(surrogate(name, scale)).numpy(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["rectangular", "atan", "sigmoid"])
def test_the_derivative_integrates_to_the_height_of_the_step(name):
    x = torch.linspace(-400, 400, 2_000_001, dtype=torch.float64)
    assert torch.trapezoid(derivative_of(surrogate(name), x), x).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", SURROGATES)
@given(x=st.floats(-1e6, 1e6, width=32))
def test_a_spike_fires_from_zero_on(name, x):
    assert surrogate(name)(torch.tensor([x])).tolist() == [float(x >= 0)]


@pytest.mark.parametrize("name", SURROGATES)
def test_the_gradient_from_above_is_multiplied_in(name):
    x = GRID.clone().requires_grad_()
    above = torch.linspace(-2, 2, len(GRID))
    surrogate(name)(x).backward(above)
    torch.testing.assert_close(x.grad, above * derivative_of(surrogate(name)))


@pytest.mark.parametrize("scale", [0.7, 2.0, 25.0])
@pytest.mark.parametrize("name", ["atan", "fast_sigmoid", "sigmoid"])
def test_the_derivative_is_that_of_snntorch_where_both_have_it(name, scale):
    theirs = getattr(snntorch.surrogate, name)(scale)
    torch.testing.assert_close(derivative_of(surrogate(name, scale)), derivative_of(theirs), equal_nan=True)


def test_every_name_of_snntorch_is_known_to_these_tests():
    functions = {name for name, value in vars(snntorch.surrogate).items() if inspect.isfunction(value)}
    assert functions == {*SCALE_OF, *WITHOUT_SCALE, "LSO", "custom_surrogate"}


@pytest.mark.parametrize("name", [*SCALE_OF, *WITHOUT_SCALE])
def test_snntorch_adapters_are_snntorch(name):
    ours, theirs = surrogate(f"snntorch.{name}"), getattr(snntorch.surrogate, name)()
    assert torch.equal(ours(GRID), (GRID > 0).float())
    assert torch.equal(derivative_of(ours), derivative_of(theirs))


@pytest.mark.parametrize("name", SCALE_OF)
def test_the_scale_of_a_snntorch_adapter_is_its_scale(name):
    theirs = getattr(snntorch.surrogate, name)(**{SCALE_OF[name]: 1.5})
    assert torch.equal(derivative_of(surrogate(f"snntorch.{name}", 1.5)), derivative_of(theirs))


@pytest.mark.parametrize("name", WITHOUT_SCALE)
def test_a_scale_is_refused_where_there_is_none(name):
    with pytest.raises(OptionError, match=rf"^surrogate_scale=2\.0: snntorch\.{name} takes none$"):
        surrogate(f"snntorch.{name}", 2.0)


@pytest.mark.parametrize("scale", [0, -1.0, math.nan])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(OptionError, match=f"^surrogate_scale={scale}: must be a positive number$"):
        surrogate("atan", scale)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rectangle", "surrogate: no 'rectangle'; did you mean 'rectangular'?"),
        ("qqq", "surrogate: no 'qqq'; there are: atan, fast_sigmoid, rectangular, sigmoid"),
        ("snntorch.atn", "surrogate: no 'snntorch.atn'; did you mean 'snntorch.atan'?"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, message):
    with pytest.raises(UnknownNameError) as caught:
        surrogate(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["snntorch.custom_surrogate", "snntorch.LSO"])
def test_what_snntorch_has_and_cannot_be_named_is_refused(name):
    with pytest.raises(UnknownNameError, match=r"^surrogate: no "):
        surrogate(name)
