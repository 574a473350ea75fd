"""How often each neuron fires over a split, and which channels never do."""

from __future__ import annotations

import torch
from torch import Tensor

from quietspike.core.checks import check_whole
from quietspike.core.errors import OptionError, unknown_name


class SpikingResponses:
    """The average spiking response of every neuron at every step (ASRV).

    It keeps one count a neuron and step, whatever the size of the split.

    Source:
        Yao et al. 2023 (MA-SNN), section 7.3: the spiking tensor of a layer and step, averaged over the validation
        set; a channel none of whose neurons fires there is what its figure 8 counts as dark blue.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._counts: dict[str, Tensor] = {}

    def begin(self, frames: Tensor) -> None:
        """Count the samples."""
        self.samples += frames.shape[1]

    def add(self, layer: str, spikes: Tensor) -> None:
        """Count a layer's spikes."""
        counts = (spikes != 0).sum(1, dtype=torch.int32)
        self._counts[layer] = self._counts[layer] + counts if layer in self._counts else counts

    def end(self) -> None:
        """Nothing."""

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order in which they ran."""
        return tuple(self._counts)

    def steps(self, layer: str) -> int:
        """T of a layer.

        Raises:
            UnknownNameError: for a layer that has not run; so do ``rate`` and ``silent``.
        """
        return len(self._of(layer))

    def rate(self, layer: str, step: int | None = None) -> Tensor:
        """Spikes of each neuron as a share of the samples; of samples and steps where ``step`` is ``None``.

        Shape:
            [C, H, W], or [F] of a fully connected layer.

        Raises:
            OptionError: for a step that the layer does not have; they are counted from 0.
        """
        counts = self._of(layer, step).double()
        return (counts.mean(0) if step is None else counts) / self.samples

    def silent(self, layer: str, step: int | None = None) -> Tensor:
        """Which channels never fire on the split, at a step or (``None``) at any.

        Shape:
            bool [C].

        Raises:
            OptionError: as ``rate``.
        """
        counts = self._of(layer, step)
        chosen = counts.sum(0) if step is None else counts
        return chosen.flatten(1).sum(1) == 0 if chosen.dim() > 1 else chosen == 0

    def _of(self, layer: str, step: int | None = None) -> Tensor:
        """Counts of a layer, at one step or at all."""
        if layer not in self._counts:
            raise unknown_name("layer", layer, self._counts)
        counts = self._counts[layer].cpu()
        if step is None:
            return counts
        check_whole(0, step=step)
        if step >= len(counts):
            raise OptionError(f"step={step}: {layer} has {len(counts)} steps, counted from 0")
        return counts[step]
