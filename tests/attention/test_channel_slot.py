"""The channel slot: SE, ECA, CBAM, SimAM, against their equations in NumPy for one image [C, H, W]."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quietspike.attention import ca, cbam, eca, se, simam
from quietspike.core import AttentionMacs, Site
from quietspike.core.tallies import count_products

T, C, H, W = 4, 6, 5, 3
PLUGINS = {"se": se, "eca": eca, "cbam": cbam, "simam": simam}


def at(channels, steps=T, signal="current"):
    return Site(f"block1.{signal}", signal, steps=steps, channels=channels, spatial=True)


def build(plugin, site=None, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return plugin(site or at(C), **options).double()


def features(*shape, seed=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights_of(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def se_by_hand(u, w):
    z = np.array([channel.mean() for channel in u])
    return sigmoid(w["channel.mlp.expand.weight"] @ np.maximum(w["channel.mlp.squeeze.weight"] @ z, 0))[:, None, None]


def eca_by_hand(u, w):
    kernel = w["channel.conv.weight"][0, 0]
    reach = len(kernel) // 2
    z = np.pad([channel.mean() for channel in u], reach)
    return np.array([sigmoid(kernel @ z[i : i + len(kernel)]) for i in range(len(u))])[:, None, None]


def cbam_by_hand(u, w):
    """Of the whole module: both gates' product."""
    first, second = w["channel.mlp.squeeze.weight"], w["channel.mlp.expand.weight"]
    inner, outer = w.get("channel.mlp.squeeze.bias", 0), w.get("channel.mlp.expand.bias", 0)
    pooled = [np.array([pool(channel) for channel in u]) for pool in (np.mean, np.max)]
    channels = sigmoid(sum(second @ np.maximum(first @ v + inner, 0) + outer for v in pooled))[:, None, None]
    refined = channels * u
    kernel = w["spatial.conv.weight"][0]
    reach = kernel.shape[-1] // 2
    maps = np.pad(np.stack([refined.mean(0), refined.max(0)]), ((0, 0), (reach, reach), (reach, reach)))
    size = kernel.shape[-1]
    space = [[(maps[:, h : h + size, v : v + size] * kernel).sum() for v in range(W)] for h in range(H)]
    space = np.array(space)
    if "spatial.norm.weight" in w:
        mean, variance = w["spatial.norm.running_mean"], w["spatial.norm.running_var"]
        space = (space - mean) / np.sqrt(variance + 1e-5) * w["spatial.norm.weight"] + w["spatial.norm.bias"]
    return channels * sigmoid(space)


def simam_by_hand(u, _, regularizer=1e-4, fewer=1):
    """From the energy itself, eq. 5: e = 4 (v + λ) / ((t − μ)² + 2 v + 2 λ); the weight is σ(1/e)."""
    out = np.empty_like(u)
    for c, channel in enumerate(u):
        v = channel.var(ddof=fewer)
        for place, t in np.ndenumerate(channel):
            energy = 4 * (v + regularizer) / ((t - channel.mean()) ** 2 + 2 * v + 2 * regularizer)
            out[(c, *place)] = sigmoid(1 / energy)
    return out


BY_HAND = {
    "se": (se_by_hand, {"channel_reduction": 2}),
    "eca": (eca_by_hand, {"kernel": 5}),
    "cbam": (cbam_by_hand, {"channel_reduction": 2, "spatial": True}),
    "simam": (simam_by_hand, {}),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_each_step_by_itself_follows_the_equations(name):
    by_hand, options = BY_HAND[name]
    module, x = build(PLUGINS[name], **options), features(T, 3, C, H, W)
    out = module(x).detach().numpy()
    for t in range(T):
        for b in range(3):
            u = x[t, b].numpy()
            np.testing.assert_allclose(out[t, b], u * by_hand(u, weights_of(module)), rtol=0, atol=1e-12)


def test_the_codes_cbam_has_biases_and_a_normalisation():
    module, x = build(cbam, channel_reduction=2, spatial=True, bias=True, norm=True), features(T, 3, C, H, W)
    module.train()(features(T, 8, C, H, W, seed=2))
    module.spatial.norm.weight.data.fill_(1.5)
    module.spatial.norm.bias.data.fill_(-0.3)
    out = module.eval()(x).detach().numpy()
    for t, b in np.ndindex(T, 3):
        u = x[t, b].numpy()
        np.testing.assert_allclose(out[t, b], u * cbam_by_hand(u, weights_of(module)), rtol=0, atol=1e-12)
    assert module.spatial.norm.running_mean.abs() > 1e-4


def test_the_equations_of_simam_divide_by_all_features():
    x = features(T, 3, C, H, W)
    out = build(simam, unbiased=False)(x).numpy()
    assert not np.allclose(out, build(simam)(x))
    for t, b in np.ndindex(T, 3):
        u = x[t, b].numpy()
        np.testing.assert_allclose(out[t, b], u * simam_by_hand(u, None, fewer=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["se", "eca", "simam"])
def test_all_steps_together_take_the_weights_of_their_average(name):
    by_hand, options = BY_HAND[name]
    module, x = build(PLUGINS[name], **options, per_step=False), features(T, 3, C, H, W)
    out = module(x).detach().numpy()
    for b in range(3):
        gate = by_hand(x[:, b].mean(0).numpy(), weights_of(module))
        np.testing.assert_allclose(out[:, b], x[:, b].numpy() * gate, rtol=0, atol=1e-12)


@pytest.mark.parametrize("per_step", [True, False])
def test_cbams_channel_part_is_ma_snns_channel_attention(per_step):
    module = build(cbam, channel_reduction=2, per_step=per_step)
    peer = build(ca, channel_reduction=2, per_step=per_step, relu=False)
    x = features(T, 3, C, H, W)
    torch.testing.assert_close(module(x), peer(x))


@pytest.mark.parametrize("name", PLUGINS)
def test_at_a_membrane_the_step_by_step_call_is_the_default(name):
    whole, stepwise = build(PLUGINS[name]), build(PLUGINS[name], at(C, steps=1, signal="membrane"), seed=1)
    stepwise.load_state_dict(whole.state_dict())
    x = features(T, 3, C, H, W)
    torch.testing.assert_close(torch.cat([stepwise(x[t : t + 1]) for t in range(T)]), whole(x))


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(PLUGINS)),
    shape=st.tuples(*(st.integers(1, high) for high in (4, 3, 6, 4, 4))),
    per_step=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_where_in_space_a_value_stands_does_not_matter(name, shape, per_step, seed):
    # CBAM's spatial part is off; the others know no neighbours in space.
    module, x = build(PLUGINS[name], at(shape[2], shape[0]), seed, per_step=per_step), features(*shape, seed=seed)
    order = torch.randperm(shape[3] * shape[4], generator=torch.Generator().manual_seed(seed))
    out, shuffled = module(x), module(x.flatten(3)[..., order].reshape(shape))
    torch.testing.assert_close(shuffled, out.flatten(3)[..., order].reshape(shape))
    weights = out / x
    assert weights.gt(0).all()
    assert weights.lt(1).all()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**16), gain=st.floats(0.5, 100), shift=st.floats(-10, 10))
def test_simam_sees_neither_gain_nor_shift(seed, gain, shift):
    # As far as the regulariser leaves it alone: d and v grow alike.
    module, x = build(simam, regularizer=1e-12), features(2, 2, 3, H, W, seed=seed)
    other = gain * x + shift
    torch.testing.assert_close(module(other), other * (module(x) / x), rtol=1e-6, atol=1e-6)


def test_simam_gives_a_constant_channel_one_weight():
    x = torch.full((2, 1, 3, 4, 4), 7.0, dtype=torch.float64)
    torch.testing.assert_close(build(simam)(x), x * sigmoid(0.5))


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        ("se", {}, (512, 2048, 2048)),
        ("eca", {}, (3, 5, 5)),
        ("cbam", {}, (512, 2048, 2048)),
        ("cbam", {"spatial": True}, (512 + 98, 2048 + 98, 2048 + 98)),
        ("simam", {}, (0, 0, 0)),
    ],
)
def test_parameters_in_the_papers_convolutions(name, options, counts):
    modules = [PLUGINS[name](at(channels, 60), **options) for channels in (64, 128, 128)]
    assert tuple(sum(value.numel() for value in module.parameters()) for module in modules) == counts


def test_parameters_that_ma_snn_prints_for_its_channel_slot():
    added = {
        name: sum(value.numel() for channels in (64, 128, 128) for value in plugin(at(channels)).parameters())
        for name, plugin in PLUGINS.items()
    }
    # It prints 48 for ECA, which the kernel rule of ECA's own paper does not give.
    assert added == {"se": 4608, "eca": 13, "cbam": 4608, "simam": 0}


@pytest.mark.parametrize("per_step", [True, False])
def test_macs(per_step):
    times, features_ = (T if per_step else 1), T * C * H * W
    expected = {
        "se": (se, {"channel_reduction": 2}, times * 2 * C * 3, 1),
        "eca": (eca, {"kernel": 5}, times * C * 5, 1),
        "cbam": (cbam, {"channel_reduction": 2}, times * 2 * 2 * C * 3, 1),
        "whole cbam": (
            cbam,
            {"channel_reduction": 2, "spatial": True, "kernel": 3},
            times * (2 * 2 * C * 3 + 2 * 9 * H * W),
            2,
        ),
    }
    for plugin, options, weights, gates in expected.values():
        module = build(plugin, **options, per_step=per_step)
        assert count_products(module, features(T, 1, C, H, W)) == weights
        assert module.macs((T, C, H, W)) == AttentionMacs(weights, gates * features_)
    # PyTorch counts no products of single numbers: the square of each feature, and its scaling.
    module = build(simam, per_step=per_step)
    assert count_products(module, features(T, 1, C, H, W)) == 0
    assert module.macs((T, C, H, W)) == AttentionMacs(2 * times * C * H * W, features_)
