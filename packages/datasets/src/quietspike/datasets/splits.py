"""Seeded choices of samples that keep the shares of the classes."""

from __future__ import annotations

from numbers import Integral
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from quietspike.core.errors import OptionError

Indices: TypeAlias = npt.NDArray[np.int64]


def stratified_sample(labels: npt.ArrayLike, number: int, seed: int) -> Indices:
    """Indices of ``number`` samples, sorted; each class has its share of them, up or down to a whole sample.

    Whole samples go to the classes by the largest remainder, a lower class first where remainders are equal. Which
    samples of a class are taken depends on the seed alone.

    >>> stratified_sample([0, 0, 0, 0, 1, 1], 3, seed=0).tolist()
    [0, 2, 5]

    Raises:
        OptionError: if ``number`` is not from 0 to the number of samples.
    """
    classes, members = np.unique(np.asarray(labels), return_inverse=True)
    if not 0 <= number <= len(members):
        raise OptionError(f"split: {number} samples cannot be taken out of {len(members)}")
    sizes = np.bincount(members, minlength=len(classes))
    taken, remainders = np.divmod(number * sizes, max(len(members), 1))
    taken[np.argsort(-remainders, kind="stable")[: number - taken.sum()]] += 1
    random = np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(members == c))[: taken[c]] for c in range(len(classes))]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def hold_out(labels: npt.ArrayLike, held: float, seed: int) -> tuple[Indices, Indices]:
    """Divide samples into those that stay and those held out, as for validation; both sorted, neither empty.

    Each class is held out in its share, as ``stratified_sample`` takes it.

    Args:
        labels: class of each sample.
        held: a number (an integer, numpy's too) or a share (any other; the number is rounded half to even).
        seed: decides which samples.

    Raises:
        OptionError: if that leaves a part without samples, or is more than there are.
    """
    total = len(np.asarray(labels))
    part = float(held) * total if 0 < held < 1 else 0  # of a share; infinities have no part
    number = int(held) if isinstance(held, Integral) else round(part)
    if not 0 < number < total:
        raise OptionError(f"split: {held} of {total} samples held out leaves a part without any, or asks for too many")
    out = stratified_sample(labels, number, seed)
    return np.setdiff1d(np.arange(total), out, assume_unique=True), out


def limited(labels: npt.ArrayLike, most: int | None, seed: int) -> Indices:
    """Indices of at most ``most`` samples, chosen as ``stratified_sample`` does; of all, where ``most`` is left out."""
    total = len(np.asarray(labels))
    return np.arange(total) if most is None or most >= total else stratified_sample(labels, most, seed)
