"""Temporal-channel joint attention, against its equations written down term by term, and PyTorch's own convolutions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quietspike.attention import TemporalChannelJointAttention
from quietspike.core import AttentionMacs, OptionError, Site
from quietspike.core.tallies import count_products


def tcja(steps, channels, seed=0, **options):
    site = Site("block1.current", "current", steps=steps, channels=channels, spatial=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalChannelJointAttention(site, **options)


def features(*shape, seed=1):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(x, module):
    """Of one sample [T, C, H, W]: TLA, CLA and their fusion, with zeros where the sums leave Z."""
    steps, channels = x.shape[:2]
    w = module.along_time.weight.detach().numpy()  # [i, n, m]
    e = module.along_channels.weight.detach().numpy()  # [j, n, m]
    z = np.array([[x[t, c].mean() for t in range(steps)] for c in range(channels)])
    before_t, before_c = (w.shape[2] - 1) // 2, (e.shape[2] - 1) // 2
    out = np.empty_like(x)
    for i in range(channels):
        for j in range(steps):
            temporal = sum(
                w[i, n, m] * z[n, j + m - before_t]
                for n in range(channels)
                for m in range(w.shape[2])
                if 0 <= j + m - before_t < steps
            )
            channel = sum(
                e[j, n, m] * z[i + m - before_c, n]
                for n in range(steps)
                for m in range(e.shape[2])
                if 0 <= i + m - before_c < channels
            )
            out[j, i] = x[j, i] / (1 + np.exp(-temporal * channel))
    return out


@pytest.mark.parametrize("kernels", [(4, 4), (2, 1), (3, 5), (1, 2), (9, 9)])
def test_follows_the_equations(kernels):
    module = tcja(5, 6, temporal_kernel=kernels[0], channel_kernel=kernels[1]).double()
    x = features(5, 3, 6, 3, 4)
    expected = np.stack([by_hand(x[:, b].numpy(), module) for b in range(3)], axis=1)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_zeros_are_where_pytorchs_same_padding_has_them(kernel):
    # The authors' code takes it from there.
    module = tcja(5, 6, temporal_kernel=kernel, channel_kernel=kernel).double()
    x = features(5, 2, 6, 3, 4)
    z = x.mean((3, 4)).transpose(0, 1)
    temporal = torch.nn.functional.conv1d(z.transpose(1, 2), module.along_time.weight, padding="same").transpose(1, 2)
    channel = torch.nn.functional.conv1d(z, module.along_channels.weight, padding="same")
    gate = (temporal * channel).sigmoid().transpose(0, 1)[..., None, None]
    torch.testing.assert_close(module(x), x * gate)


@settings(deadline=None, max_examples=60)
@given(shape=st.tuples(*(st.integers(1, high) for high in (5, 3, 6, 3, 3))), seed=st.integers(0, 2**16))
def test_where_in_space_a_value_stands_does_not_matter(shape, seed):
    module, x = tcja(shape[0], shape[2], seed).double(), features(*shape, seed=seed)
    order = torch.randperm(shape[3] * shape[4], generator=torch.Generator().manual_seed(seed))
    shuffled = x.flatten(3)[..., order].reshape(shape)
    torch.testing.assert_close(module(shuffled), module(x).flatten(3)[..., order].reshape(shape))
    weights = module(x) / x
    assert weights.gt(0).all()
    assert weights.lt(1).all()


@pytest.mark.parametrize(
    ("steps", "channels", "count"), [(20, 128, 67_136), (10, 512, 1_048_976), (1, 1, 8), (2, 3, 4 * (4 + 9))]
)
def test_parameters_are_those_of_the_two_convolutions(steps, channels, count):
    # The first is the authors' DVS128 Gesture net, the second their CIFAR10-DVS net: 4 (T^2 + C^2).
    assert sum(value.numel() for value in tcja(steps, channels).parameters()) == count


def test_macs():
    module = tcja(5, 6, temporal_kernel=2, channel_kernel=3)
    convolutions = 5 * 6 * (2 * 6 + 3 * 5)
    assert count_products(module, torch.rand(5, 1, 6, 4, 3)) == convolutions
    # PyTorch counts no products of single numbers: one of each pair of scores.
    assert module.macs((5, 6, 4, 3)) == AttentionMacs(convolutions + 5 * 6, 5 * 6 * 4 * 3)


@pytest.mark.parametrize("option", ["temporal_kernel", "channel_kernel"])
def test_a_kernel_is_a_whole_number(option):
    with pytest.raises(OptionError, match=f"^{option}=0: must be a whole number of at least 1$"):
        tcja(4, 4, **{option: 0})
