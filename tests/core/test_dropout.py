import pytest
import torch

from quietspike.core import OptionError
from quietspike.core.conv3 import Conv3
from quietspike.core.dropout import StepDropout

SMALL = {"input_shape": (2, 8, 8), "steps": 5, "classes": 3, "widths": (4, 4, 4), "hidden": (7,)}


def test_what_is_dropped_is_dropped_at_every_step():
    torch.manual_seed(0)
    dropped = StepDropout(0.25)(torch.ones(6, 2, 500))
    assert torch.equal(dropped, dropped[:1].expand(6, -1, -1))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert 0.15 < (dropped == 0).float().mean() < 0.35
    assert not torch.equal(dropped[:, 0], dropped[:, 1])


def test_evaluation_drops_nothing():
    x = torch.rand(3, 2, 5)
    assert StepDropout(0.5).eval()(x) is x


def test_a_layer_drops_of_its_input_and_of_its_spikes():
    torch.manual_seed(0)
    network = Conv3(**SMALL, dropout=(0, 0.5, 0, 0, 0))
    seen = {}
    network.block2.conv.register_forward_pre_hook(lambda _, given: seen.update(into=given[0].reshape(5, 4, 4, 8, 8)))
    network.block2.neuron.register_forward_hook(lambda *given: seen.update(fired=given[2]))
    network.block3.register_forward_pre_hook(lambda _, given: seen.update(sent=given[0]))
    network.block1.register_forward_hook(lambda *given: seen.update(before=given[2]))
    network(3 * torch.rand(5, 4, 2, 8, 8))
    assert set(seen["into"].unique().tolist()) == {0, 2}
    kept = seen["into"] > 0
    assert not (kept & (seen["before"] == 0)).any()
    assert (kept.any(0) & ((seen["before"] > 0) & ~kept).any(0)).any()  # at each step anew
    assert set(seen["fired"].unique().tolist()) == {0, 1}
    out = (seen["fired"] > 0) & (seen["sent"] == 0)
    assert out.any()
    assert not (out.any(0) & (seen["sent"] > 0).any(0)).any()  # at all steps


@pytest.mark.parametrize(
    "options",
    [
        {"fc_norm": False, "dropout": (0, 0, 0.1, 0.1, 0.1)},
        {"fc_norm": False, "dropout": (0, 0, 0.5, 0.5, 0.5), "widths": (32, 32, 32)},
    ],
)
def test_the_networks_of_asa_snn(options):
    network = Conv3(classes=20, **options)
    widths = options.get("widths", (64, 128, 128))
    convolutions = sum(9 * into * out + 3 * out for into, out in zip((2, *widths), widths, strict=False))
    connected = widths[-1] * 8 * 8 * 256 + 256 + 256 * 20 + 20
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + connected
    rates = [getattr(layer.drop_spikes, "rate", 0) for layer in network.children()]
    assert rates == list(options["dropout"])


def test_without_dropout_training_is_what_it_was():
    torch.manual_seed(0)
    network = Conv3(**SMALL)
    frames = torch.rand(5, 4, 2, 8, 8)
    state = torch.get_rng_state()
    network(frames)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dropout", [(0.1,), (0, 0, 0, 0, 1), (0, 0, 0, 0, -0.1), "none", (0, 0, 0, 0, "0.1")])
def test_what_is_no_list_of_rates_is_refused(dropout):
    with pytest.raises(OptionError) as caught:
        Conv3(**SMALL, dropout=dropout)
    assert str(caught.value) == f"dropout={dropout!r}: must be a list of 5 numbers from 0 to below 1"
