"""Spiking neurons, backbones, placements and spike accounting."""

from quietspike.core.choice import Choice
from quietspike.core.contracts import AttentionMacs, Site
from quietspike.core.errors import CheckpointError, DataError, OptionError, QuietspikeError, UnknownNameError
from quietspike.core.placement import Placement, list_sites
from quietspike.core.registry import ATTENTION, BACKBONES, COMMANDS, DATASETS, ENGINES, NEURONS, Registry

__all__ = [
    "ATTENTION",
    "BACKBONES",
    "COMMANDS",
    "DATASETS",
    "ENGINES",
    "NEURONS",
    "AttentionMacs",
    "CheckpointError",
    "Choice",
    "DataError",
    "OptionError",
    "Placement",
    "QuietspikeError",
    "Registry",
    "Site",
    "UnknownNameError",
    "list_sites",
]
