"""Where in the image a layer spikes: its spikes averaged over steps and channels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from quietspike.core.analyses.moments import Moments
from quietspike.core.checks import check_whole
from quietspike.core.errors import OptionError


def spike_map(spikes: Tensor) -> Tensor:
    """The mean over steps and channels, a sample at a time.

    Shape:
        [T, B, C, H, W] → [B, H, W].

    Source:
        Yao et al. 2023 (MA-SNN), the case study of section 7.2.
    """
    return (spikes != 0).double().mean((0, 2))


class SpikeMaps:
    """Mean spike maps of the layers that have space, over all samples and of chosen ones.

    Args:
        samples: indices, in the order of the batches, of samples whose own maps are kept, and whose input.

    Raises:
        OptionError: if an index is no whole number of at least 0.

    Source:
        Yao et al. 2023 (MA-SNN), figure 6, which shows single samples. Differs: the mean over a split beside them.
    """

    def __init__(self, samples: Sequence[int] = ()) -> None:
        self.samples = tuple(samples)
        for index in self.samples:
            check_whole(0, sample=index)
        self._kept: dict[int, dict[str, Tensor]] = {index: {} for index in self.samples}
        self._sums: dict[str, Moments] = {}
        self._seen = 0
        self._size = 0

    def begin(self, frames: Tensor) -> None:
        """Keep the input's own map."""
        self._size = frames.shape[1]
        self.add("input", frames)

    def add(self, layer: str, spikes: Tensor) -> None:
        """Add up a layer's maps; a layer without space has none."""
        if spikes.dim() != 5:
            return
        maps = spike_map(spikes)
        self._sums.setdefault(layer, Moments()).add(maps)
        for index in self.samples:
            if 0 <= index - self._seen < self._size:
                self._kept[index][layer] = maps[index - self._seen].cpu()

    def end(self) -> None:
        """Count the batch."""
        self._seen += self._size

    @property
    def of_sample(self) -> dict[int, dict[str, Tensor]]:
        """Maps [H, W] of the chosen samples by layer; ``input`` is the share of steps and channels with events.

        Raises:
            OptionError: for a sample that was not shown.
        """
        for index, maps in self._kept.items():
            if not maps:
                raise OptionError(f"sample={index}: {self._seen} were shown, counted from 0")
        return self._kept

    @property
    def means(self) -> dict[str, Tensor]:
        """Maps [H, W] averaged over the samples, by layer, ``input`` among them."""
        return {layer: moments.mean for layer, moments in self._sums.items()}
