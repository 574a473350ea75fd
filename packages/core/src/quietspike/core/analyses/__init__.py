"""What the papers look at in a trained network: where, when and how much it spikes, and how gradients flow.

Source: Yao et al. 2023 (MA-SNN), section 7; Yao et al. 2023 (ASA-SNN). Each file says which of it is whose.
"""

from quietspike.core.analyses.activity import NETWORK, Activity, SpikingActivity
from quietspike.core.analyses.blocks import find_blocks
from quietspike.core.analyses.gradients import GradientNorm, gradient_norms
from quietspike.core.analyses.histogram import Histogram
from quietspike.core.analyses.isometry import Isometry, block_isometry, estimate_traces, exact_traces
from quietspike.core.analyses.noise import NoiseShare, NoiseSpikes
from quietspike.core.analyses.potentials import Distribution, potential_distributions
from quietspike.core.analyses.responses import SpikingResponses
from quietspike.core.analyses.similarity import Similarity, mean_similarity
from quietspike.core.analyses.spike_maps import SpikeMaps, spike_map
from quietspike.core.analyses.watching import Watcher, watch
from quietspike.core.metering import neuron_layers

__all__ = [
    "NETWORK",
    "Activity",
    "Distribution",
    "GradientNorm",
    "Histogram",
    "Isometry",
    "NoiseShare",
    "NoiseSpikes",
    "Similarity",
    "SpikeMaps",
    "SpikingActivity",
    "SpikingResponses",
    "Watcher",
    "block_isometry",
    "estimate_traces",
    "exact_traces",
    "find_blocks",
    "gradient_norms",
    "mean_similarity",
    "neuron_layers",
    "potential_distributions",
    "spike_map",
    "watch",
]
