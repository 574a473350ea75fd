import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate as theirs
from torch import nn

from quietspike.core import OptionError, UnknownNameError
from quietspike.core.snntorch_neurons import snntorch_alpha, snntorch_leaky, snntorch_synaptic

ALL = (snntorch_leaky, snntorch_synaptic, snntorch_alpha)


def currents(*shape):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def run_by_hand(leaky, current):
    potential, spikes = torch.zeros_like(current[0]), []
    for now in current:
        spike, potential = leaky(now, potential)
        spikes.append(spike)
    return torch.stack(spikes)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_it_is_snntorchs_leaky(reset, beta):
    ours, hand = (currents(12, 3, 20).requires_grad_() for _ in range(2))
    leaky = snntorch.Leaky(beta=beta, threshold=0.8, reset_mechanism=reset, spike_grad=theirs.fast_sigmoid(slope=5))
    options = {"surrogate": "snntorch.fast_sigmoid", "surrogate_scale": 5}
    spikes = snntorch_leaky(beta=beta, threshold=0.8, reset=reset, **options)(ours)
    expected = run_by_hand(leaky, hand)
    assert torch.equal(spikes, expected)
    assert 0.05 < spikes.mean() < 0.95
    above = torch.linspace(-1, 1, spikes.numel()).reshape(spikes.shape)
    (spikes * above).sum().backward()
    (expected * above).sum().backward()
    assert torch.equal(ours.grad, hand.grad)


@pytest.mark.parametrize(("reset", "expected"), [("subtract", [1, 1, 0]), ("zero", [1, 0, 0]), ("none", [1, 1, 1])])
def test_the_reset_comes_one_step_late(reset, expected):
    # U is 1.9 and then, by subtract, 0.95 + 0.3 - 0.5 and 0.375 - 0.5; by zero, 0.3 and 0.15; by none, 1.25 and 0.625
    values = torch.tensor([1.9, 0.3, 0.0]).reshape(3, 1, 1)
    spikes = snntorch_leaky(beta=0.5, threshold=0.5, reset=reset)(values)
    assert spikes.flatten().tolist() == expected


def test_beta_and_threshold_learn_as_snntorchs_do():
    leaky = snntorch.Leaky(beta=0.7, threshold=0.9, learn_beta=True, learn_threshold=True, spike_grad=theirs.atan())
    ours = snntorch_leaky(beta=0.7, threshold=0.9, learn_beta=True, learn_threshold=True)
    run_by_hand(leaky, currents(8, 2, 30)).sum().backward()
    ours(currents(8, 2, 30)).sum().backward()
    grads = {name: parameter.grad for name, parameter in ours.inner.named_parameters()}
    assert set(grads) == {"beta", "threshold"}
    assert torch.equal(grads["beta"], leaky.beta.grad)
    assert torch.equal(grads["threshold"], leaky.threshold.grad)
    assert grads["beta"].abs() > 0


def test_the_gated_potential_fires_and_is_carried():
    class Halve(nn.Module):
        def forward(self, x):
            return x / 2

    current = currents(10, 1, 60)
    spikes = snntorch_leaky(beta=0.8, membrane=Halve())(current)
    for neuron in range(60):
        potential = 0.0
        for t in range(10):
            potential = (0.8 * potential + current[t, 0, neuron].item() - (potential > 1)) / 2
            assert spikes[t, 0, neuron] == (potential > 1)


def test_a_surrogate_of_ours_fires_at_the_threshold():
    at_threshold = torch.ones(1, 1, 1)
    assert snntorch_leaky(surrogate="atan")(at_threshold).item() == 1
    assert snntorch_leaky(surrogate="snntorch.atan")(at_threshold).item() == 0


def test_neither_snntorch_nor_the_neuron_keeps_anything():
    before = len(snntorch.SpikingNeuron.instances)
    neuron = snntorch_leaky()
    neuron(currents(3, 2, 4))
    assert neuron.inner.mem.numel() == neuron.inner.reset.numel() == 0
    assert len(snntorch.SpikingNeuron.instances) == before


@pytest.mark.parametrize("ours", ALL)
def test_it_says_its_threshold(ours):
    assert ours(threshold=0.7).threshold == pytest.approx(0.7)


def test_an_unknown_reset_is_refused():
    with pytest.raises(UnknownNameError, match=r"^reset: no 'substract'; did you mean 'subtract'\?$"):
        snntorch_leaky(reset="substract")


@pytest.mark.parametrize("beta", [-0.1, 1.5])
def test_a_beta_that_snntorch_would_clamp_is_refused(beta):
    with pytest.raises(OptionError, match=f"^beta={beta}: must be a finite number from 0 to 1$"):
        snntorch_leaky(beta=beta)


def run_states_by_hand(neuron, current, states):
    state, spikes = [torch.zeros_like(current[0]) for _ in range(states)], []
    for now in current:
        spike, *state = neuron(now, *state)
        spikes.append(spike)
    return torch.stack(spikes)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize(
    ("ours", "neuron", "states"), [(snntorch_synaptic, snntorch.Synaptic, 2), (snntorch_alpha, snntorch.Alpha, 3)]
)
def test_it_is_snntorchs_of_two_exponentials(ours, neuron, states, reset):
    given, hand = (currents(12, 3, 20).requires_grad_() for _ in range(2))
    options = {"alpha": 0.85, "beta": 0.6, "threshold": 0.4}
    spikes = ours(**options, reset=reset)(given)
    expected = run_states_by_hand(neuron(**options, reset_mechanism=reset, spike_grad=theirs.atan()), hand, states)
    assert torch.equal(spikes, expected)
    assert 0.05 < spikes.mean() < 0.95
    above = torch.linspace(-1, 1, spikes.numel()).reshape(spikes.shape)
    (spikes * above).sum().backward()
    (expected * above).sum().backward()
    torch.testing.assert_close(given.grad, hand.grad)


def test_synaptic_by_hand():
    # I: 1, 0.5, 0.25; U: 1 stays, 0.5 + 0.5 = 1 stays, 0.5 + 0.25 = 0.75; a threshold of 0.9 takes 0.9 off twice
    values = torch.tensor([1.0, 0, 0]).reshape(3, 1, 1)
    options = {"alpha": 0.5, "beta": 0.5, "surrogate": "atan"}
    assert snntorch_synaptic(**options, reset="none")(values).flatten().tolist() == [1, 1, 0]
    assert snntorch_synaptic(**options, threshold=0.9)(values).flatten().tolist() == [1, 0, 0]


def test_alpha_waits_a_step():
    values = torch.full((3, 1, 1), 9.0)
    assert snntorch_alpha()(values).flatten().tolist()[:2] == [0, 1]


def gated_synaptic_by_hand(current, reset, gate, alpha=0.75, beta=0.5, threshold=0.5):
    i = u = np.zeros_like(current[0])
    for x in current:
        late = u > threshold
        i = alpha * i + x
        u = beta * u + i
        u = gate * {"subtract": u - threshold * late, "zero": u * ~late, "none": u}[reset]
        yield u > threshold, (i, u)


def gated_alpha_by_hand(current, reset, gate, alpha=0.75, beta=0.5, threshold=0.5):
    """With ``subtract``, snnTorch takes V_th off E, sets I to 0, and adds the I before to U."""
    tau = np.log(alpha) / (np.log(beta) - np.log(alpha)) + 1
    e = i = u = np.zeros_like(current[0])
    for x in current:
        late = u > threshold
        before, e, i = i, alpha * e + x, beta * i - x
        u = tau * (e + i)
        if reset == "subtract":
            e, i, u = e - threshold * late, i * ~late, u + before * late
        elif reset == "zero":
            e, i, u = e * ~late, i * ~late, u * ~late
        u = gate * u
        yield u > threshold, (e, i, u)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


@pytest.mark.parametrize("gate", [1.0, 0.5])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize(
    ("ours", "by_hand"), [(snntorch_synaptic, gated_synaptic_by_hand), (snntorch_alpha, gated_alpha_by_hand)]
)
def test_the_gated_potential_fires_is_carried_and_decides_the_reset(ours, by_hand, reset, gate):
    current = currents(12, 3, 20).double() + 0.5
    neuron = ours(alpha=0.75, beta=0.5, threshold=0.5, reset=reset, membrane=Times(gate)).double()
    fired, state = [], None
    for now, (spikes, states) in zip(current, by_hand(current.numpy(), reset, gate), strict=True):
        ours_now, state = neuron.step(now, state)
        assert ours_now.bool().tolist() == spikes.tolist()
        np.testing.assert_allclose(state.numpy(), states, atol=1e-12)
        fired.append(spikes)
    assert 0.1 < np.mean(fired) < 0.9
    assert neuron(current).bool().tolist() == np.array(fired).tolist()


@pytest.mark.parametrize("ours", [snntorch_synaptic, snntorch_alpha])
def test_none_of_them_keeps_anything(ours):
    before = len(snntorch.SpikingNeuron.instances)
    neuron = ours()
    neuron(currents(3, 2, 4))
    assert [name for name, buffer in neuron.named_buffers() if buffer.shape == (2, 4)] == []
    assert len(snntorch.SpikingNeuron.instances) == before


def test_parameters_that_are_learned():
    both = snntorch_synaptic(learn_alpha=True, learn_beta=True, learn_threshold=True)
    assert {name for name, _ in both.inner.named_parameters()} == {"alpha", "beta", "threshold"}
    assert {name for name, _ in snntorch_alpha(learn_threshold=True).inner.named_parameters()} == {"threshold"}


@pytest.mark.parametrize("ours", [snntorch_leaky, snntorch_synaptic])
def test_whole_numbers_can_be_learned(ours):
    neuron = ours(beta=1, threshold=1, learn_beta=True, learn_threshold=True)
    neuron(currents(3, 2, 4)).sum().backward()
    assert neuron.threshold.item() == neuron.inner.beta.item() == 1
    assert neuron.threshold.grad != 0


@pytest.mark.parametrize("surrogate", ["snntorch.atan", "atan"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("ours", ALL)
def test_spikes_and_state_have_the_type_of_the_current(ours, dtype, surrogate):
    for membrane in (None, nn.Identity()):
        neuron = ours(surrogate=surrogate, membrane=membrane).to(dtype)
        current = currents(3, 2, 4).to(dtype).requires_grad_()
        spikes = neuron(current)
        spikes.sum().backward()
        _, state = neuron.step(current[0], None)
        assert {spikes.dtype, state.dtype, current.grad.dtype} == {dtype}


def test_an_alpha_that_is_not_over_beta_is_refused():
    with pytest.raises(OptionError, match=r"^alpha=0\.5: must be over beta, which is 0\.8$"):
        snntorch_alpha(alpha=0.5)
    with pytest.raises(OptionError, match=r"^alpha=1\.5: must be a finite number from 0 to 1$"):
        snntorch_synaptic(alpha=1.5)
