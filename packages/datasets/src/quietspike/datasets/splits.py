"""Seeded choices of samples that keep the shares of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from quietspike.core.checks import check_whole
from quietspike.core.contracts import SplitName
from quietspike.core.errors import OptionError

Indices: TypeAlias = npt.NDArray[np.int64]
Part: TypeAlias = Literal["train", "validation", "test", "all"]
"""How a set is handed out: with a part to test with, perhaps one to validate with, or undivided (``all``)."""


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


def hold_out(labels: npt.ArrayLike, held: float, seed: int, option: str = "held") -> tuple[Indices, Indices]:
    """Divide samples into those that stay and those held out, as for validation; both sorted, neither empty.

    Each class is held out in its share, as ``stratified_sample`` takes it.

    Args:
        labels: class of each sample.
        held: a number (an integer, numpy's too) or a share (any other; the number is rounded half to even).
        seed: decides which samples.
        option: what ``held`` is called, for the error.

    Raises:
        OptionError: if that leaves a part without samples, or is more than there are.
    """
    total = len(np.asarray(labels))
    part = float(held) * total if 0 < held < 1 else 0  # of a share; infinities have no part
    number = int(held) if isinstance(held, Integral) else round(part)
    if not 0 < number < total:
        raise OptionError(f"{option}={held}: must hold out some of {total} samples, and not all")
    out = stratified_sample(labels, number, seed)
    return np.setdiff1d(np.arange(total), out, assume_unique=True), out


def limited(labels: npt.ArrayLike, most: int | None, seed: int) -> Indices:
    """Indices of at most ``most`` samples, chosen as ``stratified_sample`` does; of all, where ``most`` is left out."""
    total = len(np.asarray(labels))
    return np.arange(total) if most is None or most >= total else stratified_sample(labels, most, seed)


def check_held(**options: float) -> None:
    """Refuse what is neither a share above 0 and below 1 nor a whole number of at least 1.

    Raises:
        OptionError: naming the option and its value.
    """
    for option, held in options.items():
        if not isinstance(held, float):
            check_whole(**{option: held})
        elif not 0 < held < 1:
            raise OptionError(f"{option}={held}: must be a share above 0 and below 1, or a number of samples")


def divide(
    labels: Mapping[Part, npt.ArrayLike], name: SplitName, held: Mapping[SplitName, float], seed: int
) -> tuple[Part, Indices]:
    """Which part of a set a split is of, and which of the part's samples.

    A part that is there is a split. What there is no part for is held out: of all samples first those to test with,
    then those to validate with.

    Args:
        labels: class of each sample, of ``train`` and ``test`` and perhaps ``validation``, or of ``all``.
        name: of the split.
        held: ``test`` and ``validation``: what is held out, as for ``hold_out``.
        seed: decides which samples.

    Raises:
        OptionError: if a split would be empty.
    """
    if name in labels and (name != "train" or "validation" in labels):
        return name, np.arange(len(np.asarray(labels[name])))
    part: Part = "all" if "all" in labels else "train"
    known = np.asarray(labels[part])
    rest = np.arange(len(known))
    if part == "all":
        rest, test = hold_out(known, held["test"], seed, "test")
        if name == "test":
            return part, test
    stay, out = hold_out(known[rest], held["validation"], seed, "validation")
    return part, rest[out if name == "validation" else stay]
