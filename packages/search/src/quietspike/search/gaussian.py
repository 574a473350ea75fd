"""A Gaussian process over designs that differ in this and that: what a few trainings say of all others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

START = {"weight": 0.3, "scale": 1.0, "noise": 0.05}
"""Where the search for the likeliest parameters begins, and the medians of their log-normal priors."""

ITERATIONS = 25
"""Of that search; after them nothing changes that matters here."""

JITTER = 1e-8
"""What keeps the covariance of equal designs invertible."""


@dataclass(frozen=True)
class GaussianProcess:
    """Values at designs, as far as they follow from those that are known.

    Between two designs the covariance is ``scale · exp(-Σ weight_j · d_j)``, where d_j says how far apart they are in
    aspect j (0 and 1 where they are alike in it or not). Each aspect's weight, and the noise of each group of values,
    are the likeliest under log-normal priors.

    Args:
        weights: by aspect.
        scale: variance, of values that have been brought to variance 1.
        noises: variance by group, likewise.
        center: mean of the values.
        spread: their deviation.
        factor: Cholesky factor of the covariance of what is known.
        solved: that covariance's inverse times the values.

    Source:
        Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eq. 2.25–2.26 (prediction) and 5.8–5.9
        (likelihood and its gradient). The kernel is the diffusion kernel of a product of graphs with one weight for
        each, as in Oh et al. 2019, COMBO (arXiv:1902.00448), eq. 5; on graphs of two nodes it is a constant times
        the exponential above. Differs: the weights have log-normal priors and are not sampled.
    """

    weights: Array
    scale: float
    noises: Array
    center: float
    spread: float
    factor: Any
    solved: Array

    @classmethod
    def fit(cls, distances: Array, values: Array, groups: NDArray[np.intp]) -> GaussianProcess:
        """The likeliest process.

        Args:
            distances: [aspects, N, N], between the designs that are known.
            values: [N].
            groups: [N], from 0: values of different groups may be differently noisy.
        """
        center, spread = float(values.mean()), float(values.std()) or 1.0
        scaled = (values - center) / spread
        aspects, kinds = len(distances), int(groups.max()) + 1
        medians = np.log([START["weight"]] * aspects + [START["scale"]] + [START["noise"]] * kinds)
        found = minimize(
            _cost_and_slope,
            medians,
            args=(medians, distances, scaled, groups),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS},
        )
        parameters = np.exp(found.x)
        weights, scale, noises = parameters[:aspects], float(parameters[aspects]), parameters[aspects + 1 :]
        covariance = scale * _kernel(weights, distances)
        covariance[np.diag_indices_from(covariance)] += noises[groups] + JITTER
        factor = cho_factor(covariance, lower=True)
        return cls(weights, scale, noises, center, spread, factor, cho_solve(factor, scaled))

    def predict(self, distances: Array) -> tuple[Array, Array]:
        """Mean and deviation of what a training to the end would measure at other designs.

        Args:
            distances: [aspects, M, N], from the other designs to the known ones.

        Shape:
            [aspects, M, N] → [M], [M].
        """
        covariance = self.scale * _kernel(self.weights, distances)
        means = covariance @ self.solved
        explained = np.einsum("mn,nm->m", covariance, cho_solve(self.factor, covariance.T))
        variances = np.maximum(self.scale + self.noises[0] - explained, JITTER)
        return self.center + self.spread * means, self.spread * np.sqrt(variances)

    def correlations(self, distances: Array) -> Array:
        """Between designs, 0 to 1; ``distances`` as in ``predict``."""
        return _kernel(self.weights, distances)


def _kernel(weights: Array, distances: Array) -> Array:
    similar: Array = np.exp(-np.tensordot(weights, distances, 1))
    return similar


def _cost_and_slope(
    logs: Array, medians: Array, distances: Array, values: Array, groups: NDArray[np.intp]
) -> tuple[float, Array]:
    """Negative log of likelihood times prior, and its gradient in the logarithms of the parameters."""
    aspects = len(distances)
    parameters = np.exp(logs)
    smooth = parameters[aspects] * _kernel(parameters[:aspects], distances)
    noise = parameters[aspects + 1 :]
    covariance = smooth + np.diag(noise[groups] + JITTER)
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return math.inf, np.zeros_like(logs)
    inverse_lower = np.linalg.inv(lower)
    inverse = inverse_lower.T @ inverse_lower
    solved = inverse @ values
    half = 0.5 * (
        inverse - np.outer(solved, solved)
    )  # the cost changes by the sum of this times the covariance's change
    by_smooth = half * smooth
    slope = np.empty_like(logs)
    slope[:aspects] = -parameters[:aspects] * np.tensordot(distances, by_smooth, ((1, 2), (0, 1)))
    slope[aspects] = by_smooth.sum()
    own = np.diag(half)
    slope[aspects + 1 :] = [own[groups == kind].sum() * noise[kind] for kind in range(len(noise))]
    off = logs - medians
    cost = 0.5 * float(values @ solved) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(off @ off)
    return cost, slope + off
