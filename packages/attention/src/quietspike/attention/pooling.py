"""Average and maximum: what an attention sees of the features.

    avg = mean of x over the dimensions that are not weighed,  max = their maximum

Pooling is additions and comparisons; it has no multiply-accumulates.
"""

from __future__ import annotations

from torch import Tensor


def average_and_max(x: Tensor, *over: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Pool over dimensions, which stay as size 1.

    Args:
        x: features.
        over: dimensions, pooled one group after the other; a group of neighbours is pooled at once.

    Shape:
        [T, B, C, H, W], with ``(3, 4), 0`` → twice [1, B, C, 1, 1].

    Source:
        Yao et al. 2023, Attention Spiking Neural Networks: both poolings feed one set of weights. Differs: where
        several elements have the maximum each gets an equal share of its gradient; the code's pooling gives it to one.
    """
    together = [dimension for group in over for dimension in (group if isinstance(group, tuple) else (group,))]
    return average(x, *over), x.amax(together, keepdim=True)


def average(x: Tensor, *over: int | tuple[int, ...]) -> Tensor:
    """The average alone, of the same arguments."""
    # Group by group: means of equal groups are the mean, and one call over dimensions that are no neighbours, such as
    # T and C, is slower on a CPU.
    for dimensions in over:
        x = x.mean(dimensions, keepdim=True)
    return x
