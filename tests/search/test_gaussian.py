"""The Gaussian process against scikit-learn's, and the expected gain in hypervolume against a count of random draws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Hyperparameter, Kernel

from quietspike.search.gaussian import GaussianProcess, Parameters, _cost_and_slope
from quietspike.search.improvement import expect_improvement
from quietspike.search.pareto import hypervolume


class Exponential(Kernel):
    """exp(-Σ w |x - x'|), as scikit-learn takes kernels."""

    def __init__(self, weights):
        self.weights = weights

    hyperparameter_weights = Hyperparameter("weights", "numeric", "fixed")

    def __call__(self, left, right=None, eval_gradient=False):
        right = left if right is None else right
        return np.exp(-np.tensordot(np.abs(left[:, None] - right[None]), self.weights, 1))

    def diag(self, points):
        return np.ones(len(points))

    def is_stationary(self):
        return True


def distances(left, right):
    return np.abs(left[:, None] - right[None]).transpose(2, 0, 1)


def made_up(seed, known=20, asked=9, aspects=4):
    generator = np.random.default_rng(seed)
    points = generator.integers(0, 2, (known, aspects)).astype(float)
    values = points @ generator.normal(size=aspects) + points[:, 0] * points[:, 1] + 0.1 * generator.normal(size=known)
    return points, values, generator.integers(0, 2, (asked, aspects)).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_predictions_are_scikit_learns(seed):
    points, values, asked = made_up(seed)
    within, groups = distances(points, points), np.zeros(len(values), int)
    found = Parameters.likeliest(within, values, groups)
    ours = GaussianProcess.given(found, within, values, groups)
    kernel = ConstantKernel(found.scale, "fixed") * Exponential(found.weights)
    theirs = GaussianProcessRegressor(kernel, alpha=found.noises[0] + 1e-8, optimizer=None)
    theirs.fit(points, (values - values.mean()) / values.std())
    means, deviations = theirs.predict(asked, return_std=True)
    own_means, own_deviations = ours.predict(distances(asked, points))
    np.testing.assert_allclose(own_means, values.mean() + values.std() * means, rtol=1e-7)
    expected = values.std() * np.sqrt(deviations**2 + found.noises[0])
    np.testing.assert_allclose(own_deviations, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_slope_is_that_of_the_cost(seed):
    points, values, _ = made_up(seed)
    groups = np.arange(len(values)) % 2
    logs = np.random.default_rng(seed).normal(-1, 0.5, 7)
    medians = np.full(7, -1.0)
    rest = (medians, distances(points, points), (values - values.mean()) / values.std(), groups)
    numeric = approx_fprime(logs, lambda at: _cost_and_slope(at, *rest)[0], 1e-6)
    np.testing.assert_allclose(_cost_and_slope(logs, *rest)[1], numeric, rtol=1e-3, atol=1e-4)


def test_an_aspect_that_does_not_matter_weighs_least():
    points, values, _ = made_up(0, known=60)
    values = points[:, 0] + 2 * points[:, 1]
    fitted = Parameters.likeliest(distances(points, points), values, np.zeros(60, int))
    assert fitted.weights[2:].max() < fitted.weights[:2].min()


def test_the_noisier_group_is_found():
    points, _, _ = made_up(1, known=80)
    groups = np.arange(80) % 2
    values = points.sum(axis=1) + groups * np.random.default_rng(0).normal(0, 1, 80)
    fitted = Parameters.likeliest(distances(points, points), values, groups, kinds=2)
    assert fitted.noises[1] > 10 * fitted.noises[0]


coordinates = st.floats(0.0, 1.0)
fronts = st.lists(st.tuples(coordinates, coordinates), max_size=5)


@settings(max_examples=30)
@given(
    fronts,
    st.tuples(coordinates, coordinates),
    st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)),
    st.tuples(st.booleans(), st.booleans()),
)
def test_of_two_objectives_the_gain_is_the_mean_over_random_draws(front, mean, deviation, errors):
    reference, generator = np.array([0.1, 0.1]), np.random.default_rng(0)
    points = np.array(front, float).reshape(-1, 2)
    expected = expect_improvement(np.array([mean]), np.array([deviation]), points, reference, errors, 0)[0]
    draws = np.array(mean) + np.array(deviation) * generator.normal(size=(1500, 2))
    reference, *front = seen([reference, *points], errors)
    before = area(front, reference)
    gains = [area([*front, draw], reference) - before for draw in seen(draws, errors)]
    assert expected == pytest.approx(np.mean(gains), abs=5 * np.std(gains) / np.sqrt(len(gains)) + 1e-3)


def seen(points, errors):
    """Errors in place of their -log, better above."""
    return [
        tuple(-math.exp(-value) if error else value for value, error in zip(point, errors, strict=True))
        for point in points
    ]


def area(points, reference):
    """By the search's own hypervolume, whose second objective is decades of cost below a reference."""
    return hypervolume([(first, 10 ** -(second - reference[1])) for first, second in points], (reference[0], 1.0))


def box_gain(front, point):
    """Volume that a point adds to one box from the origin, all of it above 0."""
    shared = np.prod(np.minimum(front, point))
    return np.prod(point) - shared


def test_of_three_objectives_the_gain_is_the_volumes_up_to_one_factor():
    front, reference = np.array([[0.5, 0.6, 0.7]]), np.zeros(3)
    means = np.array([[0.9, 0.3, 0.8], [0.7, 0.7, 0.7], [0.4, 0.9, 0.9], [0.2, 0.2, 0.2]])
    deviations = np.full_like(means, 1e-9)
    gains = np.mean(
        [expect_improvement(means, deviations, front, reference, [False] * 3, seed) for seed in range(60)], axis=0
    )
    volumes = np.array([box_gain(front[0], mean) for mean in means])
    assert gains[3] == volumes[3] == 0
    np.testing.assert_allclose(gains[:3] / gains[:3].sum(), volumes[:3] / volumes.sum(), rtol=0.08)


def test_of_three_objectives_an_error_counts_as_itself():
    front, reference = np.array([[0.5, 0.6, 0.7]]), np.full(3, 0.1)
    means = np.array([[0.9, 0.3, 0.8], [0.7, 0.7, 0.7], [0.4, 0.9, 0.9]])
    deviations = np.full_like(means, 1e-9)
    errors = [True, False, False]
    gains = np.mean(
        [expect_improvement(means, deviations, front, reference, errors, seed) for seed in range(60)], axis=0
    )
    [low, known, *others] = np.array(seen([reference, front[0], *means], errors))
    volumes = np.array([box_gain(known - low, other - low) for other in others])
    np.testing.assert_allclose(gains / gains.sum(), volumes / volumes.sum(), rtol=0.08)
