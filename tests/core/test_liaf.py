import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import nn
from torch.nn import functional

from quietspike.core import OptionError, UnknownNameError
from quietspike.core.conv3 import Conv3
from quietspike.core.liaf import LIAF
from quietspike.core.neurons import LIF

from .conftest import bits, measure

trains = st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=12)
FUNCTIONS = {"relu": functional.relu, "selu": functional.selu, "identity": lambda x: x}


def by_hand(values, function, *, above, threshold, reset_value, gate=1.0):
    carried, sent = 0.0, []
    for x in values:
        u = gate * (carried + x)
        s = u >= threshold
        carried = 0.3 * (reset_value if s else u)
        sent.append(function(torch.tensor(u - threshold if above else u, dtype=torch.float64)).item())
    return sent


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("activation", FUNCTIONS)
@given(values=trains, threshold=st.floats(0.1, 1), reset_value=st.floats(-0.5, 0.5), gate=st.sampled_from([1.0, 0.5]))
def test_it_follows_its_equations(activation, above, values, threshold, reset_value, gate):
    class Gate(nn.Module):
        def forward(self, x):
            return gate * x

    options = {"threshold": threshold, "reset_value": reset_value}
    neuron = LIAF(activation=activation, above_threshold=above, membrane=Gate(), **options)
    sent = neuron(torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1))
    expected = by_hand(values, FUNCTIONS[activation], above=above, gate=gate, **options)
    assert sent.flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_above_the_threshold_it_sends_where_lif_spikes():
    current = torch.randn(8, 3, 40, generator=torch.Generator().manual_seed(0))
    sent, spikes = LIAF(above_threshold=True)(current), LIF()(current)
    assert torch.equal((sent > 0).float(), spikes)
    assert not torch.equal(sent, spikes)


def test_gradients_take_the_activation_and_through_the_reset_the_surrogate():
    grads = []
    for detach in (False, True):
        current = torch.full((2, 1, 1), 0.35).requires_grad_()
        LIAF(detach_reset=detach)(current)[1].sum().backward()
        grads.append(current.grad.flatten().tolist())
    # U = 0.35 fires, so dH/dU = 0.3·(1 - S) - 0.3·U·S' = 0 - 0.3·0.35·2; the output is U₂ itself
    assert grads[0] == pytest.approx([-0.3 * 0.35 * 2, 1])
    assert grads[1] == pytest.approx([0, 1])


def test_what_it_sends_counts_as_spikes_and_the_next_layer_multiplies():
    torch.manual_seed(0)
    options = {"input_shape": (2, 8, 8), "steps": 3, "classes": 3, "widths": (4, 4, 4), "hidden": (5,)}
    network = Conv3(**options, neuron=LIAF)
    sent = []
    network.block1.neuron.register_forward_hook(lambda _, __, output: sent.append(output))
    rows = {layer.layer: layer for layer in measure(network, bits(3, 2, 2, 8, 8)).layers}
    assert rows["block1.neuron"].spikes == int((sent[0] != 0).sum()) / 2
    assert rows["block2.conv"].graded
    assert rows["block2.conv"].energy == pytest.approx(
        rows["block2.conv"].macs * rows["block2.conv"].input_rate * 4.6e-6
    )


def test_options_that_are_none_are_refused():
    with pytest.raises(UnknownNameError, match=r"^activation: no 'rellu'; did you mean 'relu'\?$"):
        LIAF(activation="rellu")
    with pytest.raises(OptionError, match=r"^above_threshold='no': must be true or false$"):
        LIAF(above_threshold="no")
    with pytest.raises(OptionError, match=r"^decay=2: must be a finite number from 0 to 1$"):
        LIAF(decay=2)
