"""Attention for spiking neural networks: MA-SNN's seven variants, ASA-SNN's advanced spatial attention, and peers.

Peers are TA-SNN, TCJA, and what may stand in the channel slot: SE, ECA, CBAM, SimAM.

Weights of the authors' own code come in through ``quietspike.attention.reference.load``.
"""

from quietspike.attention.asa import ASA
from quietspike.attention.cbam import cbam
from quietspike.attention.eca import eca
from quietspike.attention.joint import MultiDimensionalAttention, ca, csa, none, sa, ta, tca, tcsa, tsa
from quietspike.attention.se import se
from quietspike.attention.simam import simam
from quietspike.attention.ta_snn import TemporalWiseAttention
from quietspike.attention.tcja import TemporalChannelJointAttention

__all__ = [
    "ASA",
    "MultiDimensionalAttention",
    "TemporalChannelJointAttention",
    "TemporalWiseAttention",
    "ca",
    "cbam",
    "csa",
    "eca",
    "none",
    "sa",
    "se",
    "simam",
    "ta",
    "tca",
    "tcsa",
    "tsa",
]
