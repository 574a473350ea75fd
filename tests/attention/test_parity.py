"""Ours against the authors' code: outputs and input gradients on their inputs with their weights."""

import pytest
import torch

from quietspike.attention import ASA, ca, csa, reference, sa, ta, tca, tcsa, tsa
from quietspike.core import Site

SITE = Site("block1.current", "current", steps=6, channels=8, spatial=True)
TIME, CHANNELS = {"temporal_reduction": 3}, {"channel_reduction": 4}
MODULES = {
    "ta": lambda: ta(SITE, **TIME),
    "ca": lambda: ca(SITE, **CHANNELS),
    "sa": lambda: sa(SITE),
    "tca": lambda: tca(SITE, **TIME, **CHANNELS),
    "tsa": lambda: tsa(SITE, **TIME),
    "csa": lambda: csa(SITE, **CHANNELS),
    "tcsa": lambda: tcsa(SITE, **TIME, **CHANNELS),
}


def time_first(array):
    return torch.tensor(array).transpose(0, 1).contiguous()


@pytest.mark.parametrize("name", MODULES)
def test_multi_dimensional_attention_is_the_authors(name, golden, golden_weights):
    module = MODULES[name]()
    reference.load(module, golden_weights(name))
    x = time_first(golden["x"]).requires_grad_()
    out = module(x)
    torch.testing.assert_close(out, time_first(golden[f"{name}/out"]), rtol=0, atol=1e-5)
    (out * time_first(golden["cotangent"])).sum().backward()
    torch.testing.assert_close(x.grad, time_first(golden[f"{name}/grad_x"]), rtol=0, atol=1e-5)


def test_temporal_attention_of_a_fully_connected_layer_is_the_authors(golden, golden_weights):
    module = ta(Site("fc1.current", "current", steps=6, channels=8, spatial=False), **TIME)
    reference.load(module, golden_weights("ta_fc"))
    out = module(time_first(golden["ta_fc/x"]))
    torch.testing.assert_close(out, time_first(golden["ta_fc/out"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("trainable", [False, True])
def test_asa_is_the_authors_where_their_batch_is_one_sample_twice(trainable, golden, golden_weights):
    module = ASA(SITE, reduction=2, trainable_selection=trainable)
    reference.load(module, golden_weights("asa"))
    x = time_first(golden["asa/x"]).requires_grad_()
    out = module(x)
    torch.testing.assert_close(out, time_first(golden["asa/out"]), rtol=0, atol=1e-5)
    (out * time_first(golden["cotangent"])[:, :1]).sum().backward()
    torch.testing.assert_close(x.grad, time_first(golden["asa/grad_x"]), rtol=0, atol=1e-5)


def test_asa_gives_one_sample_alone_what_the_authors_give_it_twice(golden, golden_weights):
    module = ASA(SITE, reduction=2)
    reference.load(module, golden_weights("asa"))
    out = module(time_first(golden["asa/x"])[:, :1])
    torch.testing.assert_close(out, time_first(golden["asa/out"])[:, :1], rtol=0, atol=1e-5)
