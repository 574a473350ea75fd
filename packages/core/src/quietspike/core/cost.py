"""What a network's answer costs: spikes, synaptic operations, multiply-accumulates, energy, layer by layer.

Everything is measured on real inputs, per sample. Spikes are counted at the neuron. A layer's energy follows its input:

    E = E_AC · FL where the input is binary, else E_MAC · FL;   FL = MACs · Φ

with Φ the share of the input that is not zero (1 of still images), E_MAC = 4.6 pJ, E_AC = 0.9 pJ. The first layer,
whose input comes from the sensor, and attention (ΔMAC1 + ΔMAC2) always cost E_MAC. ``energy_paper`` charges E_AC
everywhere but there, as the papers do, even where attention has graded a layer's input.

In the papers' terms: NSAR(t) is the spikes of a step over the neurons, NASAR (ASA-SNN: NASFR) its mean over steps and
samples, LASAR a layer's; E_Base is the energy of a network without attention, E_Att of one with it, whose ΔMAC1 compute
the weights and whose ΔMAC2 apply them, and rEE = E_Base / E_Att.

Source: Yao et al. 2023 (MA-SNN), section on energy; pooling, normalisation (folded) and neuron updates cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["synapse", "attention", "neuron", "other"]

E_MAC = 4.6e-6
"""µJ of a multiply-accumulate: 32-bit floating point in 45 nm CMOS (Horowitz 2014)."""

E_AC = 0.9e-6
"""µJ of an accumulate, which is all that a spike asks of a synapse."""


@dataclass(frozen=True)
class LayerCost:
    """One layer's share of a sample's cost.

    Args:
        layer: its path in the network, as in ``block1.neuron``; a site's name for attention.
        kind: ``synapse`` (convolution, fully connected), ``attention``, ``neuron``, or ``other`` (normalisation).
        spikes_by_step: spikes of a neuron layer in each of the T steps.
        neurons: size of a neuron layer.
        spatial: whether a neuron layer has height and width; fully connected layers have not.
        input_rate: Φ, the share of a synapse layer's input that is not zero; 1 where that is still images.
        graded: whether a synapse layer multiplies: its input is not binary, or it is the first.
        macs: multiply-accumulates of a dense evaluation, all T steps; attention's are ΔMAC1 + ΔMAC2.
        applying_macs: the ΔMAC2 among them.
        synaptic_operations: how many weights the non-zero inputs meet, borders counted exactly.
        energy: in µJ.
        energy_paper: in µJ, by the papers' rule.
        parameters: trainable numbers.
    """

    layer: str
    kind: Kind
    spikes_by_step: tuple[float, ...] = ()
    neurons: int = 0
    spatial: bool = False
    input_rate: float = 0.0
    graded: bool = False
    macs: float = 0.0
    applying_macs: float = 0.0
    synaptic_operations: float = 0.0
    energy: float = 0.0
    energy_paper: float = 0.0
    parameters: int = 0

    @property
    def spikes(self) -> float:
        """Spikes a sample, all steps."""
        return sum(self.spikes_by_step)

    @property
    def firing_rate(self) -> float:
        """Spikes a neuron and step (the papers' LASAR); 0 for what is no neuron layer."""
        return self.spikes / (self.neurons * len(self.spikes_by_step)) if self.neurons else 0.0


@dataclass(frozen=True)
class Cost:
    """The cost of a sample, as totals of its layers.

    Args:
        layers: in the order in which they run.
    """

    layers: tuple[LayerCost, ...]

    @property
    def spikes(self) -> float:
        """Spikes a sample."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def spikes_by_step(self) -> tuple[float, ...]:
        """Spikes a sample in each step."""
        return tuple(map(sum, zip(*(layer.spikes_by_step for layer in self.neuron_layers), strict=True)))

    @property
    def neurons(self) -> int:
        """All neurons."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def firing_rate(self) -> float:
        """Spikes a neuron and step: NASAR (ASA-SNN's NASFR), fully connected layers counted."""
        slots = sum(layer.neurons * len(layer.spikes_by_step) for layer in self.layers)
        return self.spikes / slots if slots else 0.0

    @property
    def rate_by_step(self) -> tuple[float, ...]:
        """Spikes a neuron in each step: NSAR(t)."""
        return tuple(spikes / self.neurons for spikes in self.spikes_by_step)

    @property
    def spatial_firing_rate(self) -> float:
        """NASAR of the layers with height and width, as papers count that leave out the fully connected ones."""
        return self._spatial.firing_rate

    @property
    def spatial_spikes(self) -> float:
        """Spikes a sample of the same layers."""
        return self._spatial.spikes

    @property
    def _spatial(self) -> Cost:
        return Cost(tuple(layer for layer in self.neuron_layers if layer.spatial))

    @property
    def added_macs(self) -> tuple[float, float]:
        """ΔMAC1 and ΔMAC2 of all attention, a sample."""
        applying = sum(layer.applying_macs for layer in self.layers)
        return sum(layer.macs for layer in self.layers if layer.kind == "attention") - applying, applying

    def efficiency(self, base: Cost) -> float:
        """rEE: how often this network's energy goes into that of one without attention, both by the papers' rule.

        Not a number where this one takes none.
        """
        return base.energy_paper / self.energy_paper if self.energy_paper else math.nan

    @property
    def macs(self) -> float:
        """Multiply-accumulates of a dense evaluation, attention included."""
        return sum(layer.macs for layer in self.layers)

    @property
    def synaptic_operations(self) -> float:
        """Synaptic operations a sample."""
        return sum(layer.synaptic_operations for layer in self.layers)

    @property
    def energy(self) -> float:
        """µJ a sample."""
        return sum(layer.energy for layer in self.layers)

    @property
    def energy_paper(self) -> float:
        """µJ a sample, by the papers' rule."""
        return sum(layer.energy_paper for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def neuron_layers(self) -> list[LayerCost]:
        """The layers that spike."""
        return [layer for layer in self.layers if layer.kind == "neuron"]

    @property
    def totals(self) -> dict[str, float]:
        """The totals by name, as they are logged."""
        spiking = ("spikes", "spatial_spikes", "firing_rate", "spatial_firing_rate")
        names = (*spiking, "synaptic_operations", "macs", "energy", "energy_paper", "parameters")
        return {name: float(getattr(self, name)) for name in names}

    @property
    def data(self) -> list[dict[str, Any]]:
        """Plain data; ``Cost.of(cost.data) == cost``."""
        return [asdict(layer) for layer in self.layers]

    @classmethod
    def of(cls, data: Iterable[dict[str, Any]]) -> Cost:
        """From ``data``."""
        return cls(tuple(LayerCost(**{**row, "spikes_by_step": tuple(row["spikes_by_step"])}) for row in data))
