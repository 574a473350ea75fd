import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, ReduceLROnPlateau

from quietspike.core import OptionError, UnknownNameError
from quietspike.core.recipe import Recipe

losses = st.floats(1e-6, 10)


def optimizer(rate):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)


@given(rate=st.floats(1e-6, 1), epochs=st.integers(1, 60), floor=st.sampled_from([0, 1e-6]))
@settings(max_examples=30)
@pytest.mark.parametrize("theirs", [CosineAnnealingLR, CosineAnnealingWarmRestarts])
def test_cosine_is_torchs(theirs, rate, epochs, floor):
    """ASA-SNN's warm restarts, too: with the first period as long as the training, none comes."""
    recipe = Recipe(schedule="cosine", learning_rate=rate, epochs=epochs, cosine_floor=floor)
    optimised = optimizer(rate)
    schedule = theirs(optimised, epochs, eta_min=floor)
    for epoch in range(epochs):
        assert recipe.rate([1.0] * epoch) == pytest.approx(optimised.param_groups[0]["lr"], rel=1e-6, abs=1e-12)
        optimised.step()
        schedule.step()


def test_cosine_goes_from_the_whole_rate_to_zero():
    recipe = Recipe(schedule="cosine", learning_rate=0.4, epochs=4)
    assert [recipe.rate([0.0] * epoch) for epoch in range(5)] == pytest.approx(
        [0.4, 0.4 * (2 + math.sqrt(2)) / 4, 0.2, 0.4 * (2 - math.sqrt(2)) / 4, 0]
    )


@given(
    history=st.lists(st.sampled_from([1.0, 0.99995, 0.9999, 0.9, 0.5, 1.5, math.nan]) | losses, max_size=40),
    rate=st.sampled_from([1.0, 1e-3, 3e-7]),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 4),
)
def test_plateau_is_torchs(history, rate, factor, patience):
    recipe = Recipe(schedule="plateau", learning_rate=rate, plateau_factor=factor, plateau_patience=patience)
    theirs = optimizer(rate)
    schedule = ReduceLROnPlateau(theirs, factor=factor, patience=patience)
    for epoch, loss in enumerate([*history, 0.0]):
        assert recipe.rate(history[:epoch]) == theirs.param_groups[0]["lr"]
        schedule.step(loss)


@given(st.lists(losses, max_size=20))
def test_constant_is_constant(history):
    assert Recipe(schedule="constant", learning_rate=0.3).rate(history) == 0.3


def test_the_mean_squared_error_is_against_the_class_as_one_hot():
    scores = torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.0, 1.0]])
    labels = torch.tensor([1, 0])
    expected = (0.2**2 + 0.1**2 + 0.1**2 + 0.5**2 + 0 + 1) / 6
    assert Recipe(loss="mse").loss_of(scores, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_cross_entropy_is_its_formula(smoothing):
    scores = np.random.default_rng(0).random((6, 4))
    labels = np.array([0, 3, 1, 2, 2, 0])
    target = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    expected = np.mean(np.log(np.exp(scores).sum(1)) - (target * scores).sum(1))
    recipe = Recipe(loss="cross_entropy", label_smoothing=smoothing)
    assert recipe.loss_of(torch.from_numpy(scores), torch.from_numpy(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("adam", torch.optim.Adam, {"lr": 0.5, "weight_decay": 0.25}),
        ("adamw", torch.optim.AdamW, {"lr": 0.5, "weight_decay": 0.25}),
        ("sgd", torch.optim.SGD, {"lr": 0.5, "weight_decay": 0.25, "momentum": 0.75, "nesterov": False}),
    ],
)
def test_optimisers_are_torchs(name, kind, expected):
    recipe = Recipe(optimizer=name, learning_rate=0.5, weight_decay=0.25, momentum=0.75)
    made = recipe.optimize([nn.Parameter(torch.zeros(1))])
    assert type(made) is kind
    assert {key: made.param_groups[0][key] for key in expected} == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0: must be a whole number of at least 1"),
        ({"batch_size": -1}, "batch_size=-1: must be a whole number of at least 1"),
        ({"learning_rate": math.nan}, "learning_rate=nan: must be a positive number"),
        ({"epochs": True}, "epochs=True: must be a whole number of at least 1"),
        ({"epochs": 2.5}, "epochs=2.5: must be a whole number of at least 1"),
        ({"learning_rate": math.inf}, "learning_rate=inf: must be a positive number"),
        ({"momentum": 7.0}, "momentum=7.0: must be a finite number from 0 to 1"),
        ({"clip_norm": 0.0}, "clip_norm=0.0: must be a positive number"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1: must be a finite number of at least 0"),
        ({"momentum": -0.5}, "momentum=-0.5: must be a finite number from 0 to 1"),
        ({"plateau_patience": -1}, "plateau_patience=-1: must be a whole number of at least 0"),
        ({"plateau_factor": 1.0}, "plateau_factor=1.0: must be below 1"),
        ({"plateau_factor": 0.0}, "plateau_factor=0.0: must be a positive number"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        Recipe(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adan"}, "optimizer: no 'adan'; did you mean 'adam'?"),
        ({"schedule": "cosin"}, "schedule: no 'cosin'; did you mean 'cosine'?"),
        ({"loss": "hinge"}, "loss: no 'hinge'; there are: cross_entropy, mse"),
    ],
)
def test_unknown_names_get_the_nearest(options, message):
    with pytest.raises(UnknownNameError) as caught:
        Recipe(**options)
    assert str(caught.value) == message
