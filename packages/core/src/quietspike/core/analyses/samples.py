"""The samples that an analysis shows a network, and the one rule for what is not finite: it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from quietspike.core.errors import DataError


def show(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames [T, B, ...] and classes [B] of each batch that holds a sample, on a device.

    Raises:
        DataError: if there is no sample, or a frame holds what is not finite.
    """
    seen = False
    for frames, labels in batches:
        if frames.shape[1]:
            seen = True
            check_finite("frames", frames)
            yield frames.to(device), labels.to(device)
    if not seen:
        raise DataError("there is no sample to analyse")


def check_finite(where: str, values: Tensor) -> None:
    """Refuse nan and infinities, which no mean or count survives.

    Raises:
        DataError: naming where they are.
    """
    if not bool(values.isfinite().all()):
        raise DataError(f"{where}: a value is not finite")
