"""How far two orders of the same placements agree, as that of shared weights with that of trainings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from quietspike.core.seeds import derive_seed


@dataclass(frozen=True)
class Agreement:
    """Kendall's τ with an interval.

    Args:
        tau: τ-b, from -1 (reversed) over 0 (nothing in common) to 1 (the same order).
        low: of the interval.
        high: of the interval.
        count: placements.
    """

    tau: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.tau:.3f} [{self.low:.3f}, {self.high:.3f}] over {self.count}"


def agreement(
    ours: Sequence[float], theirs: Sequence[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Agreement:
    """Kendall's τ-b of two lists of figures, with the percentile interval of a bootstrap over the placements.

    A resample holds some placements twice, which are ties in both lists and count as such; one that holds a single
    figure has no τ and is left out.

    Args:
        ours: a figure for each placement.
        theirs: another, of the same placements in the same order.
        level: of the interval.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: if the lists have different lengths, or fewer than two figures.

    Source:
        Kendall 1945, The treatment of ties in ranking problems (τ-b, as scipy computes it); Efron 1979, Bootstrap
        methods: another look at the jackknife.
    """
    pairs = np.array([ours, theirs], dtype=np.float64) if len(ours) == len(theirs) else np.empty((2, 0))
    count = pairs.shape[1]
    if count < 2:
        raise ValueError(f"two lists of at least two figures each, not of {len(ours)} and {len(theirs)}")
    generator = np.random.default_rng(derive_seed(seed, "bootstrap"))
    drawn = (pairs[:, generator.integers(count, size=count)] for _ in range(resamples))
    taus = [tau for one, other in drawn if np.isfinite(tau := kendalltau(one, other).statistic)]
    low, high = np.quantile(taus, [(1 - level) / 2, (1 + level) / 2]) if taus else (np.nan, np.nan)
    return Agreement(float(kendalltau(*pairs).statistic), float(low), float(high), count)
