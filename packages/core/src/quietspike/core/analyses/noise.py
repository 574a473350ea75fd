"""Which share of a layer's spikes lies in the background, where the input has no events."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class NoiseShare:
    """Spikes in the background.

    Args:
        share: of the spikes; nan where there are none.
        background: of the layer's positions; what ``share`` would be if spikes fell anywhere alike.
        spikes: in the background, a sample.
    """

    share: float
    background: float
    spikes: float


class NoiseSpikes:
    """The noise-spike share of each layer with space.

    A sample's target is where its frames hold more than ``events`` events, summed over steps and channels. A position
    of a layer belongs to the target if its cell of the input, or a cell at most ``margin`` positions away, touches it;
    all others are background, and a spike there is a noise spike.

    Args:
        events: a pixel with no more than these is background; above 0 for sensors with noise of their own.
        margin: in positions of the layer; 1 is what a 3×3 convolution sees.

    Source:
        Yao et al. 2023 (ASA-SNN) and MA-SNN speak of background noise and draw it. Defined here: what of a picture is
        background, and the share. A static image without zeros has no background.
    """

    def __init__(self, events: float = 0.0, margin: int = 1) -> None:
        self.events = events
        self.margin = margin
        self._target: Tensor = torch.zeros(())
        self._sums: dict[str, Tensor] = {}

    def begin(self, frames: Tensor) -> None:
        """Find the targets."""
        self._target = (frames.abs().sum((0, 2)) > self.events).to(torch.float32)

    def add(self, layer: str, spikes: Tensor) -> None:
        """Count spikes in the background, all spikes, positions in the background, all positions, and samples."""
        if spikes.dim() != 5:
            return
        near = functional.adaptive_max_pool2d(self._target.unsqueeze(1), spikes.shape[-2:])
        near = functional.max_pool2d(near, 2 * self.margin + 1, stride=1, padding=self.margin)
        background = near.squeeze(1) == 0
        counts = (spikes != 0).sum((0, 2))
        found = (counts[background].sum(), counts.sum(), background.sum())
        sums = torch.tensor([*map(int, found), background.numel(), len(counts)])
        self._sums[layer] = self._sums.get(layer, 0) + sums

    def end(self) -> None:
        """Nothing."""

    @property
    def rows(self) -> dict[str, NoiseShare]:
        """By layer, in the order in which they ran."""
        rows = {}
        for layer, sums in self._sums.items():
            noise, spikes, background, positions, samples = sums.tolist()
            share = noise / spikes if spikes else float("nan")
            rows[layer] = NoiseShare(share, background / positions, noise / samples)
        return rows
