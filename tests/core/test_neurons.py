import pickle
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from quietspike.core import NEURONS, OptionError, UnknownNameError
from quietspike.core.contracts import Neuron
from quietspike.core.integrate_and_fire import integrate_and_fire
from quietspike.core.neurons import LIF, PLIF
from quietspike.core.testing import check_neuron

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "attention_lif.npz")

trains = st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=12)


def one_neuron(values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def currents(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def lif_by_hand(values, reset, *, decay, threshold, reset_value, gate=1.0):
    carried, spikes = 0.0, []
    for x in values:
        u = gate * (carried + x)
        s = 1.0 if u >= threshold else 0.0
        carried = {
            "paper": reset_value * s + decay * u * (1 - s),
            "code": decay * (reset_value * s + (1 - s) * u),
            "subtract": decay * (u - threshold * s),
        }[reset]
        spikes.append(s)
    return spikes


def plif_by_hand(values, *, tau, threshold, reset_value, gate=1.0):
    v, spikes = reset_value, []
    for x in values:
        v = gate * (v + (x - (v - reset_value)) / tau)
        s = 1.0 if v >= threshold else 0.0
        v = reset_value if s else v
        spikes.append(s)
    return spikes


class Box(torch.autograd.Function):
    """A step whose derivative is 2 where |x| < 0.25."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, above):
        (x,) = ctx.saved_tensors
        return above * torch.where(x.abs() < 0.25, 2.0, 0.0)


class Arch(torch.autograd.Function):
    """A step whose derivative is 1 / (1 + (πx)²)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, above):
        (x,) = ctx.saved_tensors
        return above / (1 + (torch.pi * x) ** 2)


class Gate(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return self.factor * x


@pytest.mark.parametrize(("case", "reset_value"), [("lif_reset_to_zero", 0.0), ("lif_reset_to_threshold", 0.3)])
def test_lif_is_the_reference_cell(case, reset_value):
    current = torch.from_numpy(GOLDEN["lif_reset_to_threshold/current"]).requires_grad_()
    spikes = LIF(reset_value=reset_value)(current)
    assert torch.equal(spikes, torch.from_numpy(GOLDEN[f"{case}/spikes"]))
    cotangent = torch.from_numpy(GOLDEN["cotangent"]).transpose(0, 1)
    (spikes * cotangent).sum().backward()
    torch.testing.assert_close(current.grad, torch.from_numpy(GOLDEN[f"{case}/grad_current"]), atol=1e-5, rtol=0)


def test_the_papers_reset_is_the_codes_at_zero_alone():
    current = currents(8, 2, 50)
    assert torch.equal(LIF(reset="paper")(current), LIF(reset="code")(current))
    paper, code = (LIF(reset=reset, reset_value=0.29)(current) for reset in ("paper", "code"))
    assert not torch.equal(paper, code)


@pytest.mark.parametrize("reset", ["paper", "code", "subtract"])
@given(values=trains, decay=st.floats(0, 1), threshold=st.floats(0.1, 1), reset_value=st.floats(-0.5, 0.5))
def test_lif_follows_its_equations(reset, values, decay, threshold, reset_value):
    options = {"decay": decay, "threshold": threshold, "reset_value": 0.0 if reset == "subtract" else reset_value}
    spikes = LIF(reset=reset, **options)(one_neuron(values))
    assert spikes.flatten().tolist() == lif_by_hand(values, reset, **options)


@pytest.mark.parametrize("reset", ["paper", "code", "subtract"])
@given(values=trains)
def test_lif_fires_and_carries_what_the_membrane_gives(reset, values):
    to = 0.0 if reset == "subtract" else 0.2
    spikes = LIF(reset=reset, reset_value=to, membrane=Gate(0.5))(one_neuron(values))
    assert spikes.flatten().tolist() == lif_by_hand(values, reset, decay=0.3, threshold=0.3, reset_value=to, gate=0.5)


def test_a_potential_equal_to_the_threshold_fires():
    assert LIF(threshold=0.5)(one_neuron([0.5, 0.25])).flatten().tolist() == [1, 0]


@given(values=trains, threshold=st.floats(0.1, 1))
def test_plif_follows_its_equations(values, threshold):
    spikes = PLIF(threshold=threshold)(one_neuron(values))
    assert spikes.flatten().tolist() == plif_by_hand(values, tau=2, threshold=threshold, reset_value=0.0)


@pytest.mark.parametrize("gate", [1.0, 0.9])
@pytest.mark.parametrize("tau", [1.25, 4.0])
def test_plif_with_other_constants_follows_its_equations(tau, gate):
    current = currents(20, 1, 200, dtype=torch.float64) * 2
    spikes = PLIF(tau=tau, threshold=0.7, reset_value=-0.1, membrane=Gate(gate))(current)
    for neuron in range(current.shape[2]):
        by_hand = plif_by_hand(current[:, 0, neuron].tolist(), tau=tau, threshold=0.7, reset_value=-0.1, gate=gate)
        assert spikes[:, 0, neuron].tolist() == by_hand
    assert 0.02 < spikes.mean() < 0.98


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("reset", ["paper", "code", "subtract"])
def test_lif_gradients_are_those_of_the_equations(reset, detach):
    ours = currents(7, 3, 40, dtype=torch.float64).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    above = currents(7, 3, 40, seed=1, dtype=torch.float64)
    carried, spikes = torch.zeros(3, 40, dtype=torch.float64), []
    for x in theirs:
        u = carried + x
        s = Box.apply(u - 0.3)
        spikes.append(s)
        s = s.detach() if detach else s
        carried = {
            "paper": 0.2 * s + 0.6 * u * (1 - s),
            "code": 0.6 * (0.2 * s + (1 - s) * u),
            "subtract": 0.6 * (u - 0.3 * s),
        }[reset]
    (torch.stack(spikes) * above).sum().backward()
    to = 0.0 if reset == "subtract" else 0.2
    (LIF(decay=0.6, reset=reset, reset_value=to, detach_reset=detach)(ours) * above).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-12, rtol=1e-9)


def test_a_detached_reset_lets_less_gradient_through():
    grads = []
    for detach in (False, True):
        current = torch.full((2, 1, 1), 0.35).requires_grad_()
        LIF(detach_reset=detach)(current)[1].sum().backward()
        grads.append(current.grad.flatten().tolist())
    # U = 0.35 fires; H = 0.3·U·(1 − S), so dH/dU = 0.3·(1 − S) − 0.3·U·S' = 0 − 0.3·0.35·2, and S'(U₂) = 2
    assert grads[0] == pytest.approx([-0.3 * 0.35 * 2 * 2, 2])
    assert grads[1] == pytest.approx([0, 2])


@pytest.mark.parametrize("detach", [False, True])
def test_plif_gradients_are_those_of_the_equations(detach):
    neuron = PLIF(tau=3.0, reset_value=0.1, detach_reset=detach).double()
    ours = (currents(9, 2, 30, dtype=torch.float64) * 3).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    above = currents(9, 2, 30, seed=1, dtype=torch.float64)
    w = neuron.w.detach().clone().requires_grad_()
    v, spikes = torch.full((2, 30), 0.1, dtype=torch.float64), []
    for x in theirs:
        v = v + (x - (v - 0.1)) / (1 + torch.exp(-w))
        s = Arch.apply(v - 1.0)
        spikes.append(s)
        s = s.detach() if detach else s
        v = 0.1 * s + v * (1 - s)
    (torch.stack(spikes) * above).sum().backward()
    (neuron(ours) * above).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(neuron.w.grad, w.grad)
    assert w.grad.abs() > 0


@pytest.mark.parametrize("reset", ["paper", "code", "subtract"])
@given(values=trains, threshold=st.floats(0.1, 1), reset_value=st.floats(-0.5, 0.5))
def test_integrate_and_fire_forgets_nothing(reset, values, threshold, reset_value):
    options = {"threshold": threshold, "reset_value": 0.0 if reset == "subtract" else reset_value}
    spikes = integrate_and_fire(reset=reset, **options)(one_neuron(values))
    assert spikes.flatten().tolist() == lif_by_hand(values, reset, decay=1, **options)


def test_integrate_and_fire_by_hand():
    # U: 0.25, 0.5 fires, 0.25, 0, 0.5 fires; what is over the threshold is lost by a reset to zero, kept by subtracting
    values = one_neuron([0.25, 0.25, 0.25, -0.25, 0.5])
    assert integrate_and_fire(threshold=0.5)(values).flatten().tolist() == [0, 1, 0, 0, 1]
    above = one_neuron([0.75, 0.25])
    assert integrate_and_fire(threshold=0.5)(above).flatten().tolist() == [1, 0]
    assert integrate_and_fire(threshold=0.5, reset="subtract")(above).flatten().tolist() == [1, 1]


def test_plif_starts_at_its_time_constant():
    assert torch.sigmoid(PLIF(tau=5.0).w).item() == pytest.approx(1 / 5)
    assert [name for name, _ in PLIF().named_parameters()] == ["w"]


GRADED = {"liaf"}


@pytest.mark.parametrize("name", NEURONS.names())
class TestEveryNeuron:
    def test_it_keeps_the_contract(self, name):
        check_neuron(NEURONS.get(name))

    def test_it_is_a_neuron(self, name):
        assert isinstance(NEURONS.get(name)(), Neuron)

    @pytest.mark.parametrize("shape", [(5, 2, 3, 4, 4), (5, 2, 7), (1, 1, 1), (1, 1, 1, 1, 1)])
    def test_nothing_is_kept_between_calls(self, name, shape):
        neuron = NEURONS.get(name)()
        current = 3 * currents(*shape)
        first = neuron(current)
        neuron(currents(2, 5, 9))
        assert torch.equal(neuron(current), first)
        assert first.shape == current.shape
        assert name in GRADED or set(first.unique().tolist()) <= {0.0, 1.0}

    def test_steps_one_by_one_are_the_whole(self, name):
        neuron = NEURONS.get(name)()
        current = 2 * currents(9, 3, 4, 5, 5)
        state, spikes = None, []
        for now in current:
            spike, state = neuron.step(now, state)
            spikes.append(spike)
        assert torch.equal(torch.stack(spikes), neuron(current))

    def test_two_streams_do_not_meet(self, name):
        neuron = NEURONS.get(name)()
        left, right = 2 * currents(6, 1, 8), 2 * currents(6, 1, 8, seed=1)
        states, spikes = [None, None], [[], []]
        for now in zip(left, right, strict=True):
            for stream in (0, 1):
                spike, states[stream] = neuron.step(now[stream], states[stream])
                spikes[stream].append(spike)
        assert torch.equal(torch.stack(spikes[0]), neuron(left))
        assert torch.equal(torch.stack(spikes[1]), neuron(right))

    def test_the_membrane_module_is_called_once_a_step(self, name):
        gate = Gate(1.0)
        current = 2 * currents(4, 2, 3, 5, 5)
        spikes = NEURONS.get(name)(membrane=gate)(current)
        assert gate.shapes == [(1, 2, 3, 5, 5)] * 4
        assert torch.equal(spikes, NEURONS.get(name)()(current))

    def test_a_silent_membrane_never_fires(self, name):
        assert not NEURONS.get(name)(membrane=Gate(0.0))(5 * torch.ones(4, 2, 6)).any()

    def test_a_future_current_changes_no_spike_before_it(self, name):
        current = 2 * currents(6, 1, 50)
        later = current.clone()
        later[4:] += 1
        assert torch.equal(NEURONS.get(name)()(current)[:4], NEURONS.get(name)()(later)[:4])

    def test_it_can_be_printed_and_saved(self, name):
        neuron = NEURONS.get(name)()
        neuron(currents(3, 2, 4))
        fresh = NEURONS.get(name)()
        assert repr(neuron) == repr(fresh)
        fresh.load_state_dict(neuron.state_dict())


@settings(max_examples=30)
@given(batch=st.integers(1, 5), index=st.integers(0, 4), seed=st.integers(0, 99))
def test_a_sample_does_not_feel_its_neighbours(batch, index, seed):
    current = currents(5, batch, 6, seed=seed)
    index %= batch
    assert torch.equal(LIF()(current)[:, index], LIF()(current[:, index : index + 1])[:, 0])


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_a_decay_outside_of_0_to_1_is_refused(decay):
    with pytest.raises(OptionError, match=f"^decay={decay}: must be a finite number from 0 to 1$"):
        LIF(decay=decay)


@pytest.mark.parametrize("tau", [1, 0.5, -2, float("nan")])
def test_a_time_constant_of_one_or_less_is_refused(tau):
    with pytest.raises(OptionError, match=f"^tau={tau}: must be (over 1|a positive number)$"):
        PLIF(tau=tau)


@pytest.mark.parametrize("neuron", [LIF, PLIF])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": float("nan")}, "threshold=nan: must be a positive number"),
        ({"threshold": 0}, "threshold=0: must be a positive number"),
        ({"threshold": "0.3"}, "threshold='0.3': must be a positive number"),
        ({"reset_value": float("nan")}, "reset_value=nan: must be a finite number"),
        ({"detach_reset": "False"}, "detach_reset='False': must be true or false"),
        ({"surrogate_scale": float("inf")}, "surrogate_scale=inf: must be a positive number"),
    ],
)
def test_values_that_would_silence_it_are_refused(neuron, options, message):
    with pytest.raises(OptionError) as caught:
        neuron(**options)
    assert str(caught.value) == message


def test_a_reset_value_where_the_reset_subtracts_is_refused():
    with pytest.raises(OptionError, match=r"^reset_value=0\.1: has no meaning where reset is subtract$"):
        LIF(reset="subtract", reset_value=0.1)


def test_a_neuron_can_be_pickled():
    current = currents(5, 2, 30)
    for neuron in (LIF(surrogate="sigmoid"), PLIF()):
        assert torch.equal(pickle.loads(pickle.dumps(neuron))(current), neuron(current))


def test_unknown_names_get_the_nearest():
    with pytest.raises(UnknownNameError, match=r"^reset: no 'substract'; did you mean 'subtract'\?$"):
        LIF(reset="substract")
    with pytest.raises(UnknownNameError, match=r"^surrogate: no 'attan'; did you mean 'atan'\?$"):
        PLIF(surrogate="attan")
