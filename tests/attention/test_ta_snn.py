"""TA-SNN's temporal-wise attention, against its equations in NumPy, and its pruning of steps at inference."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quietspike.attention import TemporalWiseAttention
from quietspike.core import AttentionMacs, OptionError, Placement, Site
from quietspike.core.tallies import count_products

CONVOLUTION = Site("block1.current", "current", steps=6, channels=3, spatial=True)
CONNECTED = Site("fc1.current", "current", steps=6, channels=11, spatial=False)


def ta_snn(site=CONVOLUTION, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalWiseAttention(site, **options).eval()


def features(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def scores_by_hand(x, module):
    """Of one sample [T, ...]: equations 5 and 6, with the code's biases where there are any."""
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    s = np.array([step.mean() for step in x])
    hidden = np.maximum(weights["mlp.squeeze.weight"] @ s + weights.get("mlp.squeeze.bias", 0), 0)
    logits = weights["mlp.expand.weight"] @ hidden + weights.get("mlp.expand.bias", 0)
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("site", "shape"), [(CONVOLUTION, (6, 4, 3, 5, 4)), (CONNECTED, (6, 4, 11))])
def test_follows_the_equations(site, shape, bias):
    module, x = ta_snn(site, temporal_reduction=2, bias=bias).double(), features(*shape)
    assert len(list(module.parameters())) == (4 if bias else 2)
    out = module(x).detach().numpy()
    for b in range(4):
        sample = x[:, b].numpy()
        expected = np.stack([d * step for d, step in zip(scores_by_hand(sample, module), sample, strict=True)])
        np.testing.assert_allclose(out[:, b], expected, rtol=0, atol=1e-12)


def test_a_threshold_keeps_or_discards_whole_steps_at_inference():
    module, x = ta_snn(temporal_reduction=2, threshold=0.5).double(), features(6, 4, 3, 5, 4)
    out = module(x)
    kept = np.stack([scores_by_hand(x[:, b].numpy(), module) >= 0.5 for b in range(4)], axis=1)
    assert 0 < kept.sum() < kept.size
    assert torch.equal(out, x * torch.from_numpy(kept)[..., None, None, None])


def test_training_does_not_see_the_threshold():
    pruned, plain = ta_snn(threshold=0.5).train().double(), ta_snn().train().double()
    x = features(6, 4, 3, 5, 4)
    assert torch.equal(pruned(x), plain(x))


@pytest.mark.parametrize(("threshold", "share"), [(0, 1.0), (1, 0.0)])
def test_thresholds_at_the_ends_keep_all_or_nothing(threshold, share):
    x = features(6, 4, 3, 5, 4, dtype=torch.float32)
    assert torch.equal(ta_snn(threshold=threshold)(x), x * share)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**16), offset=st.floats(-3, 3))
def test_only_the_average_of_a_step_counts(seed, offset):
    # What leaves the average as it is, even with another maximum, leaves the scores as they are.
    module, x = ta_snn(seed=seed).double(), features(6, 2, 3, 5, 4, seed=seed)
    other = x.clone()
    other[..., 0, 0] += offset
    other[..., 1, 1] -= offset
    torch.testing.assert_close(module(other), other * (module(x) / x), rtol=1e-9, atol=1e-9)


def test_scores_lie_between_0_and_1():
    scores = ta_snn()(torch.ones(6, 4, 3, 2, 2))
    assert scores.gt(0).all()
    assert scores.lt(1).all()


@pytest.mark.parametrize(("steps", "reduction", "width"), [(30, 16, 1), (10, 5, 2), (60, 5, 12), (4, 5, 1)])
def test_parameters_are_two_layers_with_biases(steps, reduction, width):
    site = Site("block1.current", "current", steps=steps, channels=64, spatial=True)
    module = TemporalWiseAttention(site, temporal_reduction=reduction)
    assert sum(value.numel() for value in module.parameters()) == 2 * steps * width + width + steps


@pytest.mark.parametrize(("site", "shape"), [(CONVOLUTION, (6, 3, 5, 4)), (CONNECTED, (6, 11))])
def test_macs(site, shape):
    module = ta_snn(site, temporal_reduction=2)
    elements = int(np.prod(shape))
    assert count_products(module, torch.rand(6, 1, *shape[1:])) == 2 * 6 * 3
    assert module.macs(shape) == AttentionMacs(weights=2 * 6 * 3, applying=elements)
    # A score of 0 or 1 chooses; it multiplies nothing.
    assert ta_snn(site, temporal_reduction=2, threshold=0.5).macs(shape) == AttentionMacs(2 * 6 * 3, 0)


def test_it_stands_at_a_fully_connected_layer_by_name():
    placement = Placement({"fc1.current": {"name": "ta_snn", "temporal_reduction": 3, "threshold": None}})
    assert isinstance(placement(CONNECTED), TemporalWiseAttention)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold=1.5: must be a finite number from 0 to 1"),
        ({"threshold": True}, "threshold=True: must be a finite number from 0 to 1"),
        ({"temporal_reduction": 0}, "temporal_reduction=0: must be a whole number of at least 1"),
    ],
)
def test_a_value_out_of_range(options, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        ta_snn(**options)
