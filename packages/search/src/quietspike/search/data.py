"""The data set of an experiment, opened once a process."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

from quietspike.core import DATASETS, Placement
from quietspike.core.contracts import EventDataset, SplitName
from quietspike.core.networks import build_plugin
from quietspike.search.config import Experiment
from quietspike.search.design import Design

if TYPE_CHECKING:  # a space is surveyed by opening the data
    from quietspike.search.space import Space

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def open_dataset(experiment: Experiment) -> EventDataset:
    """The data set; trials of one process share it.

    Raises:
        QuietspikeError: for an unknown data set or option, or data that is not there.
    """
    return _open(json.dumps(experiment.dataset.data, sort_keys=True))


@functools.lru_cache(maxsize=2)
def _open(chosen: str) -> EventDataset:
    return build_plugin(DATASETS, json.loads(chosen))


def prepare_data(experiment: Experiment, space: Space) -> None:
    """Make the cache of all splits, of each form that the data take, before several processes ask for them."""
    for case in space.cases or (None,):
        changed = experiment if case is None else Design(Placement(), case.chosen).apply(experiment)
        for name in SPLITS:
            open_dataset(changed).split(name)
