"""Finds where attention belongs in a spiking neural network: fewest spikes at the best accuracy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietspike.search.config import Experiment, load_experiment
    from quietspike.search.results import Confirmation, Outcome, SearchResult, TrialResult
    from quietspike.search.searching import read_search, run_search

__all__ = [
    "Confirmation",
    "Experiment",
    "Outcome",
    "SearchResult",
    "TrialResult",
    "load_experiment",
    "read_search",
    "run_search",
]

_HOMES = {
    "config": ("Experiment", "load_experiment"),
    "results": ("Confirmation", "Outcome", "SearchResult", "TrialResult"),
    "searching": ("read_search", "run_search"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a command that needs neither MLflow nor Optuna does not wait for them."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
