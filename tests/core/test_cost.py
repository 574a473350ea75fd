import json
import math

import hypothesis.strategies as st
from hypothesis import given

from quietspike.core.cost import E_AC, E_MAC, Cost, LayerCost

layers = st.builds(
    LayerCost,
    layer=st.text(min_size=1),
    kind=st.sampled_from(["synapse", "attention", "neuron", "other"]),
    spikes_by_step=st.lists(st.floats(0, 1e9), max_size=4).map(tuple),
    neurons=st.integers(0, 10**9),
    spatial=st.booleans(),
    input_rate=st.floats(0, 1),
    graded=st.booleans(),
    energy=st.floats(0, 1e9),
)


@given(st.lists(layers, max_size=4))
def test_a_cost_comes_back_from_its_plain_data(rows):
    cost = Cost(tuple(rows))
    assert Cost.of(cost.data) == cost
    assert Cost.of(json.loads(json.dumps(cost.data))) == cost


def test_totals_add_up_the_layers():
    conv = LayerCost("conv", "synapse", macs=10, synaptic_operations=4, energy=2, energy_paper=1, parameters=7)
    first = LayerCost("first", "neuron", spikes_by_step=(3, 1), neurons=5, spatial=True, parameters=1)
    gate = LayerCost("fc.input", "attention", macs=6, applying_macs=2, energy=3, energy_paper=3, parameters=2)
    last = LayerCost("last", "neuron", spikes_by_step=(0.5, 1.5), neurons=2)
    cost = Cost((conv, first, gate, last))
    assert cost.totals == {
        "spikes": 6,
        "spatial_spikes": 4,
        "firing_rate": 6 / (2 * 7),
        "spatial_firing_rate": 4 / 10,
        "synaptic_operations": 4,
        "macs": 16,
        "energy": 5,
        "energy_paper": 4,
        "parameters": 10,
    }
    assert cost.spikes_by_step == (3.5, 2.5)
    assert cost.neurons == 7
    assert cost.neuron_layers == [first, last]
    assert (first.spikes, first.firing_rate) == (4, 4 / 10)
    assert conv.firing_rate == gate.firing_rate == 0
    assert cost.rate_by_step == (0.5, 2.5 / 7)
    assert cost.spatial_firing_rate == 4 / 10
    assert cost.added_macs == (4, 2)
    assert Cost((conv, first, last)).efficiency(cost) == 4
    assert math.isnan(Cost((first, last)).efficiency(cost))


def test_a_network_without_neurons_has_no_firing_rate():
    assert Cost(()).firing_rate == 0
    assert Cost((LayerCost("fc", "synapse"),)).spikes_by_step == ()


def test_the_constants_are_the_papers():
    assert (E_MAC, E_AC) == (4.6e-6, 0.9e-6)
