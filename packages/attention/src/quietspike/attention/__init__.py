"""Attention for spiking neural networks: MA-SNN's seven variants and ASA-SNN's advanced spatial attention.

Weights of the authors' own code come in through ``quietspike.attention.reference.load``.
"""

from quietspike.attention.asa import ASA
from quietspike.attention.joint import MultiDimensionalAttention, ca, csa, none, sa, ta, tca, tcsa, tsa

__all__ = ["ASA", "MultiDimensionalAttention", "ca", "csa", "none", "sa", "ta", "tca", "tcsa", "tsa"]
