"""The data set of an experiment, opened once a process."""

from __future__ import annotations

import functools
import json

from quietspike.core import DATASETS
from quietspike.core.contracts import EventDataset
from quietspike.core.networks import build_plugin
from quietspike.search.config import Experiment


def open_dataset(experiment: Experiment) -> EventDataset:
    """The data set; trials of one process share it.

    Raises:
        QuietspikeError: for an unknown data set or option, or data that is not there.
    """
    return _open(json.dumps(experiment.dataset.data, sort_keys=True))


@functools.lru_cache(maxsize=2)
def _open(chosen: str) -> EventDataset:
    return build_plugin(DATASETS, json.loads(chosen))
