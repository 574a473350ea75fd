"""How alike a layer's spikes are at different steps, and in different channels."""

from __future__ import annotations

import torch
from torch import Tensor


class Similarity:
    """Cosine similarity of spike features over steps and over channels, averaged over samples.

    Of one sample's spikes S [T, C, H, W], two steps are compared as vectors over C, H and W, two channels as vectors
    over T, H and W. A step or channel without spikes has no direction: its pairs are left out of the mean. Spikes are
    not negative, so the similarity lies in 0..1; independent neurons that fire at rate r have one of about r.

    Source:
        Yao et al. 2023 (ASA-SNN): features are redundant since every step and place sees the same weights. Defined
        here: the cosine as their likeness, and the mean over samples.
    """

    def __init__(self) -> None:
        self._steps: dict[str, tuple[Tensor, Tensor]] = {}
        self._channels: dict[str, tuple[Tensor, Tensor]] = {}

    def begin(self, frames: Tensor) -> None:
        """Nothing."""

    def add(self, layer: str, spikes: Tensor) -> None:
        """Compare the steps and, of a layer with space, the channels of each sample."""
        fired = (spikes != 0).to(torch.float32)
        for sample in fired.unbind(1):  # one by one, since C × C of a whole batch may not fit
            _add(self._steps, layer, sample.flatten(1))
            if sample.dim() == 4:
                _add(self._channels, layer, sample.transpose(0, 1).flatten(1))

    def end(self) -> None:
        """Nothing."""

    @property
    def steps(self) -> dict[str, Tensor]:
        """[T, T] by layer; nan where no sample has spikes at both steps."""
        return {layer: _mean(*sums) for layer, sums in self._steps.items()}

    @property
    def channels(self) -> dict[str, Tensor]:
        """[C, C] by layer with space; nan where no sample has spikes in both channels."""
        return {layer: _mean(*sums) for layer, sums in self._channels.items()}


def mean_similarity(matrix: Tensor) -> float:
    """The mean over the pairs of two different rows that have a similarity; nan if there are none."""
    return float(matrix[~torch.eye(len(matrix), dtype=torch.bool)].nanmean())


def _add(sums: dict[str, tuple[Tensor, Tensor]], layer: str, features: Tensor) -> None:
    """Features [N, M] of 0 and 1: N vectors."""
    common = (features @ features.t()).double()
    own = common.diagonal()
    pairs = (own[:, None] * own > 0).double()
    cosines = common / (own[:, None] * own).sqrt().clamp(min=1)
    before = sums.get(layer)
    sums[layer] = (cosines, pairs) if before is None else (before[0] + cosines, before[1] + pairs)


def _mean(cosines: Tensor, pairs: Tensor) -> Tensor:
    return (cosines / pairs).cpu()  # 0 / 0 is nan
