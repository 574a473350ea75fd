"""ASA's selection: by sample, by its rule, and with or without a gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quietspike.attention import ASA
from quietspike.core import Site
from quietspike.core.kernels import reference

SHARES = [0.0, 0.1, 0.34, 0.5, 0.75, 0.99, 1.0]


def at(steps, channels):
    return Site("block1.current", "current", steps=steps, channels=channels, spatial=True)


def asa(shape, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ASA(at(shape[0], shape[2]), **options)


def selected_by_hand(x, module):
    """Of one sample [T, C, H, W], from the equations: the important (t, c)."""
    steps, channels = x.shape[:2]
    weights = {name: value.detach().double().numpy() for name, value in module.state_dict().items()}
    average, maximum = x.mean((2, 3)), x.max((2, 3))
    merged = 0.5 * (average + maximum) + weights["selection.alpha"] * average + weights["selection.beta"] * maximum
    if "selection.mix" in weights:
        values = weights["selection.mix"] @ merged
    else:
        values = weights["selection.expand"] @ np.maximum(weights["selection.squeeze"] @ merged, 0)
    channel_count, step_count = math.floor(module.important * channels), math.floor(module.important * steps)
    by_step = [{(t, c) for c in np.argsort(-values[t])[:channel_count]} for t in range(steps)]
    by_channel = [{(t, c) for t in np.argsort(-values[:, c])[:step_count]} for c in range(channels)]
    return set().union(*by_step) ^ set().union(*by_channel)


def gated_by_hand(x, module, important):
    """Of one sample, in NumPy: each group's own map; kernel 3."""
    weights = {name: value.detach().double().numpy() for name, value in module.state_dict().items()}
    mask = np.zeros(x.shape[:2])
    for t, c in important:
        mask[t, c] = 1
    out = np.zeros_like(x)
    share = module.important
    for group, divisor, name in ((mask, share, "important"), (1 - mask, 1 - share, "rest")):
        features = x * group[:, :, None, None]
        pooled = np.stack([features.mean((0, 1)) / divisor, features.max((0, 1))])
        padded = np.pad(pooled, ((0, 0), (1, 1), (1, 1)))
        kernel = weights[f"conv_{name}.weight"][0]
        for h in range(x.shape[2]):
            for w in range(x.shape[3]):
                logit = (padded[:, h : h + 3, w : w + 3] * kernel).sum()
                out[:, :, h, w] += features[:, :, h, w] / (1 + np.exp(-logit))
    return out


@pytest.mark.parametrize("reduction", [1, 3])
@pytest.mark.parametrize("important", [0.2, 0.5, 0.7])
def test_follows_the_equations(important, reduction):
    shape = (6, 3, 5, 4, 3)
    module = asa(shape, important=important, reduction=reduction).double()
    module.selection.alpha.fill_(0.9)
    module.selection.beta.fill_(-0.3)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = module(x).detach().numpy()
    for b in range(shape[1]):
        sample = x[:, b].numpy()
        expected = gated_by_hand(sample, module, selected_by_hand(sample, module))
        np.testing.assert_allclose(out[:, b], expected, rtol=0, atol=1e-12)


def test_one_batch_element_that_the_reference_would_let_choose_for_all():
    """The reference indexes with a batch of indices, so what one sample selects is important in every sample."""
    shape = (6, 4, 8, 5, 5)
    module = asa(shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(x)[:, :1], module(x[:, :1]))

    choose = module.selection.choose
    module.selection.choose = lambda *pooled: choose(*pooled).amax(1, keepdim=True).expand_as(pooled[0])
    assert (module(x)[:, :1] - module(x[:, :1])).abs().max() > 0.01


@settings(deadline=None, max_examples=200)
@given(
    shape=st.tuples(*(st.integers(1, high) for high in (5, 4, 6, 3, 3))),
    important=st.sampled_from(SHARES),
    reduction=st.integers(1, 3),
    spikes=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_selects_the_same_alone_and_as_many_as_the_rule_says(shape, important, reduction, spikes, seed):
    steps, batch, channels = shape[:3]
    module = asa(shape, seed, important=important, reduction=reduction)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator).gt(0.7).float() if spikes else torch.randn(shape, generator=generator)
    mask = module.selection(x)
    assert mask.shape == (steps, batch, channels, 1, 1)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    for b in range(batch):
        assert torch.equal(module.selection(x[:, b : b + 1]), mask[:, b : b + 1])
    # |A| = T floor(share C), |D| = C floor(share T); exactly one of them: |A| + |D| - 2 |A and D|.
    by_step, by_channel = steps * math.floor(important * channels), channels * math.floor(important * steps)
    for count in mask.sum((0, 2, 3, 4)).tolist():
        assert (by_step + by_channel - count) % 2 == 0
        assert abs(by_step - by_channel) <= count <= by_step + by_channel
    assert module(x).isfinite().all()


@pytest.mark.parametrize("important", [0, 0.0, 1, 1.0])
@pytest.mark.parametrize("trainable", [False, True])
def test_with_nothing_important_all_pass_the_other_map(important, trainable):
    shape = (4, 2, 6, 5, 5)
    module = asa(shape, important=important, trainable_selection=trainable)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    pooled = torch.stack([x.mean((0, 2)), x.amax((0, 2))], dim=1)
    torch.testing.assert_close(module(x), x * module.conv_rest(pooled).sigmoid())


def test_one_step_is_split_by_channels_and_one_channel_by_steps():
    one_step = asa((1, 2, 6, 3, 3)).selection(torch.randn(1, 2, 6, 3, 3))
    assert one_step.sum((0, 2, 3, 4)).tolist() == [3, 3]
    one_channel = asa((6, 2, 1, 3, 3)).selection(torch.randn(6, 2, 1, 3, 3))
    assert one_channel.sum((0, 2, 3, 4)).tolist() == [3, 3]


def test_the_earlier_of_equals_goes_first():
    # All values are equal: the first two of four channels at each step, the first of three steps of each channel.
    module = asa((3, 5, 4, 2, 2))
    mask = module.selection(torch.zeros(3, 5, 4, 2, 2))
    first = torch.tensor([[0.0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
    assert torch.equal(mask[..., 0, 0], first[:, None].expand(3, 5, 4))


@pytest.mark.parametrize("channels", [3, 5, 7])
@pytest.mark.parametrize("steps", [16, 26, 30, 37])
def test_equal_channels_are_equal_wherever_in_the_batch_they_stand(steps, channels):
    # A product in single precision rounds rows differently by their place, and would rank equal channels by that.
    shape = (steps, 40, channels, 2, 2)
    module = asa(shape, seed=steps)
    x = torch.rand(steps, 40, 1, 2, 2, generator=torch.Generator().manual_seed(channels)).expand(shape).contiguous()
    mask = module.selection(x)
    for b in range(40):
        assert torch.equal(module.selection(x[:, b : b + 1]), mask[:, b : b + 1])


def test_the_count_is_that_of_the_decimal_number():
    # 0.29 of 100 is 29; its product in floating point is a little less.
    assert asa((1, 1, 100, 2, 2), important=0.29).selection(torch.randn(1, 1, 100, 2, 2)).sum() == 29


@pytest.mark.parametrize("reduction", [1, 2])
def test_selection_is_held_in_buffers_unless_it_learns(reduction):
    held, learning = (
        asa((4, 1, 6, 5, 5), reduction=reduction, trainable_selection=trainable) for trainable in (False, True)
    )
    assert {name for name, _ in held.named_parameters()} == {"conv_important.weight", "conv_rest.weight"}
    assert held.state_dict().keys() == learning.state_dict().keys() == dict(learning.named_parameters()).keys()
    for one, other in zip(held.state_dict().values(), learning.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert held.selection.alpha == held.selection.beta == 0.5


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("important", [0.3, 0.5, 0.8])
def test_learning_changes_neither_the_output_nor_its_gradient_by_the_input(important, reduction):
    shape = (4, 3, 6, 5, 5)
    options = {"important": important, "reduction": reduction}
    held, learning = (asa(shape, **options, trainable_selection=trainable) for trainable in (False, True))
    outputs, gradients = [], []
    for module in (held, learning):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(4)).requires_grad_()
        with reference():
            out = module(x)
        out.square().sum().backward()
        outputs.append(out.detach())
        gradients.append(x.grad)
    assert torch.equal(*outputs)
    torch.testing.assert_close(*gradients)
    for name, value in learning.named_parameters():
        assert value.grad.abs().sum() > 0, name


def test_the_straight_through_gradient_is_that_of_the_sigmoid():
    # One step, two channels, one of them chosen: the threshold is midway, so both are half their distance from it.
    module = asa((1, 1, 2, 1, 1), trainable_selection=True)
    with torch.no_grad():
        module.selection.mix.fill_(1.0)
    mask = module.selection(torch.tensor([3.0, 1.0]).reshape(1, 1, 2, 1, 1))
    assert mask.flatten().tolist() == [1, 0]
    mask[0, 0, 0].sum().backward()
    # v = mix * (1 + alpha + beta) * x; d/d mix of sigmoid((v1 - v2) / 2) with v1 - v2 = 2 * 2.
    slope = 1 / (1 + math.exp(-2)) * (1 - 1 / (1 + math.exp(-2)))
    assert module.selection.mix.grad.item() == pytest.approx(slope * 2, rel=1e-5)
    assert module.selection.alpha.grad.item() == pytest.approx(slope * 1, rel=1e-5)


def test_learning_prefers_what_lowers_the_loss():
    # The wanted output is what the other channel's being important would give; gradient descent finds that choice.
    torch.manual_seed(0)
    shape = (1, 1, 2, 4, 4)
    module = asa(shape, trainable_selection=True)
    with torch.no_grad():
        module.selection.mix.fill_(0.5)
    for conv in (module.conv_important, module.conv_rest):
        conv.weight.requires_grad_(False)
    x = torch.stack([torch.rand(4, 4), 1 + torch.rand(4, 4)]).reshape(shape)
    with torch.no_grad():
        wanted = asa(shape)
        wanted.load_state_dict(module.state_dict())
        wanted.selection.mix.fill_(-0.5)
        target = wanted(x)
        assert not torch.allclose(module(x), target)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        (module(x) - target).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(module(x), target)
