"""Finds where attention belongs in a spiking neural network: fewest spikes at the best accuracy."""

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
