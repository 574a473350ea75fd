"""Mean and variance of numbers that come batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Count, mean and sum of squared deviations, in float64; merged pairwise, so that nothing cancels.

    Source:
        Chan, Golub and LeVeque 1983, Algorithms for Computing the Sample Variance.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor = torch.zeros(())
        self._squares: Tensor = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Values [N, ...]: N more of what is averaged."""
        if len(values) == 0:
            return
        values = values.detach().to(torch.float64)
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        total = self.count + len(values)
        if self.count == 0:
            self._mean, self._squares = mean, squares
        else:
            apart = mean - self._mean
            self._mean = self._mean + apart * (len(values) / total)
            self._squares = self._squares + squares + apart.square() * (self.count * len(values) / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """Of all values; nan of none."""
        return self._mean.cpu() if self.count else torch.tensor(torch.nan, dtype=torch.float64)

    @property
    def variance(self) -> Tensor:
        """Mean squared deviation from the mean (divided by N, not N - 1)."""
        return self._squares.cpu() / self.count if self.count else torch.tensor(torch.nan, dtype=torch.float64)
