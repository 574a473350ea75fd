import pytest
import torch
from torch import nn

from quietspike.core import DataError
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.metering import CostMeter
from quietspike.core.recipe import Recipe

CPU = torch.device("cpu")


class Scores(nn.Module):
    """Its frames are its scores: [T, B, classes] → their mean over time."""

    def forward(self, frames):
        return frames.mean(0)


def test_loss_and_accuracy_are_means_over_samples_not_batches():
    scores = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0.5], [0.5, 0, 0]])
    labels = torch.tensor([0, 1, 2, 2, 1])
    batches = [(scores[None, :4], labels[:4]), (scores[None, 4:], labels[4:])]
    shown = evaluate(Scores(), batches, Recipe(loss="mse"), CPU)
    assert shown.accuracy == 3 / 5
    assert shown.loss == pytest.approx((0 + 0 + 2 / 3 + 0.25 / 3 + 1.25 / 3) / 5)


def test_it_measures_in_evaluation_mode_and_leaves_the_mode_as_it_was(toy, build):
    network = build()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    validation = Batches(toy.split("validation"), 5)
    for training in (True, False):
        network.train(training)
        shown = evaluate(network, validation.epoch(), Recipe(), CPU)
        assert network.training == training
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert shown.loss > 0


def test_its_cost_is_the_meters(toy, build):
    network = build().eval()
    batches = list(Batches(toy.split("validation"), 5).epoch())
    with CostMeter(network) as meter:
        for frames, _ in batches:
            network(frames)
    assert evaluate(network, batches, Recipe(), CPU).cost == meter.cost()


def test_still_images_are_multiplied_whole(toy, build):
    class Images:
        images = True

        def __init__(self, split):
            self.split = split

        def __len__(self):
            return len(self.split)

        def __getitem__(self, index):
            return self.split[index]

    events, images = (Batches(split, 5) for split in (toy.split("test"), Images(toy.split("test"))))
    network = build().eval()
    first = [
        evaluate(network, batches.epoch(), Recipe(), CPU, images=batches.images).cost.layers[0]
        for batches in (events, images)
    ]
    assert (events.images, images.images) == (False, True)
    assert first[0].input_rate < first[1].input_rate == 1


def test_what_was_frozen_stays_frozen_also_after_an_error(toy, build):
    network = build().train()
    network.block2.norm.eval()
    validation = list(Batches(toy.split("validation"), 9).epoch())
    evaluate(network, validation, Recipe(), CPU)
    with pytest.raises(IndexError):
        evaluate(network, [(validation[0][0], torch.full((9,), 77))], Recipe(loss="cross_entropy"), CPU)
    modes = {name: module.training for name, module in network.named_modules()}
    assert [name for name, training in modes.items() if not training] == ["block2.norm"]


def test_no_graph_is_kept():
    seen = []

    class Watch(nn.Module):
        def forward(self, frames):
            seen.append(torch.is_grad_enabled())
            return frames.mean((0, 3))

    evaluate(Watch(), [(torch.zeros(2, 1, 3, 4), torch.zeros(1, dtype=torch.int64))], Recipe(), CPU)
    assert seen == [False]
    assert torch.is_grad_enabled()


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(DataError, match=r"^there is no sample to evaluate on$"):
        evaluate(Scores(), [], Recipe(), CPU)
