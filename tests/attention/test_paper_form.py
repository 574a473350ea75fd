"""The paper's form, against its equations written down in NumPy for one sample [T, C, H, W] at a time."""

import numpy as np
import pytest
import torch

from quietspike.attention import ca, csa, sa, ta, tca, tcsa, tsa
from quietspike.core import Site

T, C, H, W = 5, 6, 8, 9
SITE = Site("block1.current", "current", steps=T, channels=C, spatial=True)
PAPER = {"per_step": True, "relu": False}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mlp(v, first, second):
    return second @ np.maximum(first @ v, 0)


def paper_time(x, first, second):
    average = np.array([x[t].mean() for t in range(T)])
    maximum = np.array([x[t].max() for t in range(T)])
    weights = sigmoid(mlp(average, first, second) + mlp(maximum, first, second))
    return np.stack([weights[t] * x[t] for t in range(T)])


def paper_channels(u, first, second):
    out = np.zeros_like(u)
    for t in range(T):
        average = np.array([u[t, c].mean() for c in range(C)])
        maximum = np.array([u[t, c].max() for c in range(C)])
        weights = sigmoid(mlp(average, first, second) + mlp(maximum, first, second))
        for c in range(C):
            out[t, c] = weights[c] * u[t, c]
    return out


def paper_space(u, kernel):
    reach = kernel.shape[-1] // 2
    out = np.zeros_like(u)
    for t in range(T):
        pooled = np.pad(np.stack([u[t].mean(0), u[t].max(0)]), ((0, 0), (reach, reach), (reach, reach)))
        for h in range(H):
            for w in range(W):
                window = pooled[:, h : h + kernel.shape[-2], w : w + kernel.shape[-1]]
                out[t, :, h, w] = sigmoid((window * kernel).sum()) * u[t, :, h, w]
    return out


def paper(x, weights):
    """All of a variant that has weights, in the paper's order."""
    steps = {"temporal": paper_time, "channel": paper_channels}
    for part, gate in steps.items():
        if f"{part}.mlp.squeeze.weight" in weights:
            x = gate(x, weights[f"{part}.mlp.squeeze.weight"], weights[f"{part}.mlp.expand.weight"])
    return paper_space(x, weights["spatial.conv.weight"][0]) if "spatial.conv.weight" in weights else x


@pytest.mark.parametrize(
    "build",
    [
        lambda: ta(SITE, temporal_reduction=2, relu=False),
        lambda: ca(SITE, channel_reduction=3, **PAPER),
        lambda: sa(SITE, kernel=7, **PAPER),
        lambda: tca(SITE, temporal_reduction=2, channel_reduction=3, **PAPER),
        lambda: tsa(SITE, temporal_reduction=2, kernel=7, **PAPER),
        lambda: csa(SITE, channel_reduction=3, kernel=5, **PAPER),
        lambda: tcsa(SITE, temporal_reduction=2, channel_reduction=3, kernel=7, **PAPER),
    ],
    ids=["ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"],
)
def test_the_papers_form_is_its_equations(build):
    torch.manual_seed(0)
    module = build().double()
    x = torch.randn(T, 3, C, H, W, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    expected = np.stack([paper(x[:, b].numpy(), weights) for b in range(3)], axis=1)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_at_a_membrane_the_step_by_step_call_is_the_papers_form():
    torch.manual_seed(0)
    whole = csa(SITE, channel_reduction=3, kernel=7, **PAPER)
    stepwise = csa(Site("block1.membrane", "membrane", 1, C, spatial=True), channel_reduction=3, kernel=7, relu=False)
    stepwise.load_state_dict(whole.state_dict())
    x = torch.randn(T, 2, C, H, W)
    torch.testing.assert_close(torch.cat([stepwise(x[t : t + 1]) for t in range(T)]), whole(x))
