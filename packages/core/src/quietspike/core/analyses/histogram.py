"""A histogram of numbers whose range nobody knows beforehand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quietspike.core.analyses.moments import Moments
from quietspike.core.errors import DataError

BINS = 1024


class Histogram:
    """Counts on a grid around 0 that doubles its range when a value falls outside, two bins becoming one.

    The bins' width is a power of two, so that the counts are those that the final grid would have given, in whatever
    batches the values came.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.int64)
        self.limit = 2.0**-20
        self._moments = Moments()

    def add(self, values: Tensor) -> None:
        """Count values of any shape.

        Raises:
            DataError: if one is not finite.
        """
        values = values.detach().flatten()
        if not len(values):
            return
        largest = float(values.abs().max())
        if not math.isfinite(largest):
            raise DataError("a value is not finite")
        while self.limit <= largest:
            self._double()
        bins = (values.double() / self.width).floor().long() + BINS // 2
        self.counts += torch.bincount(bins, minlength=BINS).cpu()
        self._moments.add(values)

    @property
    def total(self) -> int:
        """How many values."""
        return self._moments.count

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2 * self.limit / BINS

    @property
    def edges(self) -> Tensor:
        """[bins + 1]; a bin holds its left edge."""
        return torch.arange(-BINS // 2, BINS // 2 + 1, dtype=torch.float64) * self.width

    @property
    def density(self) -> Tensor:
        """Share of the values in each bin over its width, [bins]; its integral is 1."""
        return self.counts.double() / (self.total * self.width)

    @property
    def mean(self) -> float:
        """Of the values themselves, not of their bins."""
        return float(self._moments.mean)

    @property
    def deviation(self) -> float:
        """Standard deviation, of the population."""
        return math.sqrt(self._moments.variance)

    def _double(self) -> None:
        quarter = BINS // 4
        merged = torch.zeros_like(self.counts)
        merged[quarter:-quarter] = self.counts.reshape(-1, 2).sum(1)
        self.counts = merged
        self.limit *= 2
