"""What placements are worth with a supernet's shared weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Subset

from quietspike.core.batches import Batches
from quietspike.core.checks import check_whole
from quietspike.core.contracts import EventDataset, FrameSplit
from quietspike.core.evaluation import Evaluation, evaluate
from quietspike.core.metering import CostMeter
from quietspike.core.modes import evaluating
from quietspike.core.placement import Placement
from quietspike.core.recipe import Recipe
from quietspike.core.seeds import derive_seed
from quietspike.core.sharing import SharedParts
from quietspike.core.supernet import Supernet

KEPT_BYTES = 2**28
"""Of what placements share, in each process that scores them."""


class Scorer:
    """Measures placements in a supernet: statistics of normalisation anew on training batches, then the validation.

    A score depends on the weights and the placement alone, not on what was scored before, and equals what the network
    of that placement gives with the same weights and statistics.

    Args:
        supernet: trained; its statistics of normalisation are those of the last placement afterwards.
        dataset: its ``train`` and ``validation`` splits are used, and kept in memory.
        recipe: gives batch size, loss and precision.
        seed: of the choice of samples.
        calibration: training batches that the statistics are taken from.
        samples: of the validation split, drawn once; all of them where ``None``.
        device: where the supernet is.

    Raises:
        OptionError: for less than one batch or sample.

    Source:
        Guo et al. 2020, Single Path One-Shot Neural Architecture Search, section 3.4 (statistics are recomputed for
        each path before it is measured).
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: EventDataset,
        recipe: Recipe,
        *,
        seed: int,
        calibration: int = 4,
        samples: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        check_whole(calibration=calibration)
        self._supernet = supernet
        self._recipe = recipe
        self._device = device or torch.device("cpu")
        training = Batches(dataset.split("train"), recipe.batch_size, derive_seed(seed, "calibration"))
        shown = Batches(dataset.split("validation"), recipe.batch_size)
        self._voting, self._images = shown.voting, shown.images
        if samples is not None:
            check_whole(samples=samples)
            shown = Batches(_drawn(shown, samples, seed), recipe.batch_size)
        self._calibration = [frames for (frames, _), _ in zip(self._moved(training), range(calibration), strict=False)]
        self._validation = list(self._moved(shown))
        self._parts = SharedParts(supernet.network, KEPT_BYTES)

    def score(self, placement: Placement) -> Evaluation:
        """What a placement gives with the shared weights.

        Raises:
            UnknownNameError: if it is none of the supernet's.
        """
        with self._supernet.standing(placement) as network:
            meter = CostMeter(network, images=self._images)
            with self._parts.sharing(placement, meter):
                recalibrate(network, self._calibration, self._recipe)
                return evaluate(network, self._validation, self._recipe, self._device, self._voting, meter=meter)

    def _moved(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        return ((frames.to(self._device), labels.to(self._device)) for frames, labels in batches.epoch())


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor], recipe: Recipe) -> None:
    """Take the statistics of a network's normalisations anew: the mean over batches, each of which counts the same.

    All else is in evaluation mode meanwhile: dropout drops nothing.

    Args:
        network: a backbone.
        batches: frames.
        recipe: its precision.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    with evaluating(network), _averaging(norms):
        for norm in norms:
            norm.reset_running_stats()
            norm.training = True
        for frames in batches:
            recipe.run(network, frames)


@contextmanager
def _averaging(norms: list[_BatchNorm]) -> Iterator[None]:
    """Running moments are means, not exponential ones."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _drawn(batches: Batches, samples: int, seed: int) -> FrameSplit:
    """So many samples of a split, in its order, each with all of its clips."""
    clips = batches.voting.clips
    whole = len(batches.split) // clips
    generator = torch.Generator().manual_seed(derive_seed(seed, "scored samples"))
    chosen = torch.randperm(whole, generator=generator)[:samples].sort().values.tolist()
    return Subset(batches.split, [clips * sample + clip for sample in chosen for clip in range(clips)])  # type: ignore[arg-type]
