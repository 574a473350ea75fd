"""Weights of the authors' code: what is taken, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from quietspike.attention import ASA, none, reference, ta, tca, tcsa
from quietspike.core import CheckpointError, Site

SITE = Site("block1.current", "current", steps=6, channels=8, spatial=True)


def whole():
    return tcsa(SITE, temporal_reduction=3, channel_reduction=4)


def refusal(module, weights):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        reference.load(module, weights)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_takes_arrays_and_tensors_alike(golden_weights):
    from_arrays, from_tensors = whole(), whole()
    weights = golden_weights("tcsa")
    reference.load(from_arrays, weights)
    reference.load(from_tensors, {name: nn.Parameter(torch.tensor(value)) for name, value in weights.items()})
    for name, value in from_arrays.state_dict().items():
        assert torch.equal(value, from_tensors.state_dict()[name])
    np.testing.assert_array_equal(from_arrays.spatial.conv.weight.detach(), weights["sa.conv.weight"])
    assert all(parameter.requires_grad for parameter in from_arrays.parameters())


def test_takes_arrays_that_cannot_be_written(golden_weights):
    weights = golden_weights("tcsa")
    for value in weights.values():
        value.flags.writeable = False
    reference.load(whole(), weights)


def test_takes_a_single_layer_along_time_of_asa(golden_weights):
    weights = golden_weights("asa")
    single = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    single["fc.weight"] = np.arange(36, dtype=np.float32).reshape(6, 6)
    module = ASA(SITE)
    reference.load(module, single)
    np.testing.assert_array_equal(module.selection.mix, single["fc.weight"])


def test_a_missing_name(golden_weights):
    weights = golden_weights("tcsa")
    weights["ca.shardMLP.0.weight"] = weights.pop("ca.sharedMLP.0.weight")
    message = "weights: no 'ca.sharedMLP.0.weight'; did you mean 'ca.shardMLP.0.weight'?"
    assert refusal(whole(), weights) == message


def test_another_reduction(golden_weights):
    message = "weights: no 'fc.weight'; did you mean 'fc.2.weight'?"
    assert refusal(ASA(SITE, reduction=1), golden_weights("asa")) == message


def test_no_weights_at_all():
    assert refusal(whole(), {}) == "weights: no 'ca.sharedMLP.0.weight'; there are: none"


def test_a_name_left_over(golden_weights):
    module = tca(SITE, temporal_reduction=3, channel_reduction=4)
    message = refusal(module, golden_weights("tcsa"))
    assert message.startswith("module: no 'sa.conv.weight'; ")


def test_a_bias_left_over(golden_weights):
    weights = golden_weights("ta") | {"ta.sharedMLP.0.bias": np.zeros(2, np.float32)}
    message = "module: no 'ta.sharedMLP.0.bias'; beside it are: ta.sharedMLP.0.weight"
    assert refusal(ta(SITE, temporal_reduction=3), weights) == message


def test_another_shape(golden_weights):
    message = "weights: 'ca.sharedMLP.0.weight' is [2, 8, 1, 1, 1], expected [1, 8]"
    assert refusal(tcsa(SITE, temporal_reduction=3), golden_weights("tcsa")) == message


def test_a_transposed_shape_is_not_reshaped(golden_weights):
    weights = golden_weights("ta")
    weights["ta.sharedMLP.0.weight"] = weights["ta.sharedMLP.0.weight"].reshape(6, 2, 1, 1, 1)
    message = "weights: 'ta.sharedMLP.0.weight' is [6, 2, 1, 1, 1], expected [2, 6]"
    assert refusal(ta(SITE, temporal_reduction=3), weights) == message


def test_too_few_dimensions(golden_weights):
    weights = golden_weights("ta")
    weights["ta.sharedMLP.0.weight"] = weights["ta.sharedMLP.0.weight"].reshape(12)
    message = "weights: 'ta.sharedMLP.0.weight' is [12], expected [2, 6]"
    assert refusal(ta(SITE, temporal_reduction=3), weights) == message


@pytest.mark.parametrize("module", [none(SITE), nn.Linear(2, 2)], ids=["none", "Linear"])
def test_a_module_that_the_authors_do_not_have(module):
    message = f"weights of MA-SNN and ASA-SNN belong to their attention, not to {type(module).__name__}"
    assert refusal(module, {}) == message
