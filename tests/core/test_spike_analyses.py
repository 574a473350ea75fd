"""Maps, responses and rates of spikes that are written down."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import OptionError, UnknownNameError
from quietspike.core.analyses import (
    NETWORK,
    NoiseSpikes,
    Similarity,
    SpikeMaps,
    SpikingActivity,
    SpikingResponses,
    mean_similarity,
    spike_map,
    watch,
)

from .conftest import Relay, bits, in_batches, measure

# T = 2, two samples, two channels, 1 × 2 pixels; the second channel fires in the first sample alone, at step 0
FRAMES = torch.tensor(
    [
        [[[[1.0, 0.0]], [[0.0, 1.0]]], [[[1.0, 0.0]], [[0.0, 0.0]]]],
        [[[[1.0, 1.0]], [[0.0, 0.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]],
    ]
)


def gathered(watcher, network, *sizes, frames=FRAMES):
    watch(network, in_batches(frames, *sizes), [watcher])
    return watcher


def test_a_map_is_the_mean_over_steps_and_channels():
    assert spike_map(FRAMES).tolist() == [[[0.5, 0.5]], [[0.25, 0.0]]]
    assert spike_map(-3 * FRAMES).tolist() == spike_map(FRAMES).tolist()  # graded spikes are spikes


def test_maps_are_averaged_over_samples_and_kept_of_the_chosen(relay):
    maps = gathered(SpikeMaps(samples=[1]), relay, 1, 1)
    assert {layer: mean.tolist() for layer, mean in maps.means.items()} == {
        "input": [[0.375, 0.25]],
        "first": [[0.375, 0.25]],
    }
    assert {layer: kept.tolist() for layer, kept in maps.of_sample[1].items()} == {
        "input": [[0.25, 0.0]],
        "first": [[0.25, 0.0]],
    }


@pytest.mark.parametrize("wrong", [-1, 1.5, True])
def test_a_sample_that_no_split_has_is_refused(wrong):
    with pytest.raises(OptionError, match=f"sample={wrong}: must be a whole number of at least 0"):
        SpikeMaps([0, wrong])


def test_a_sample_beyond_the_split_is_refused(relay):
    maps = gathered(SpikeMaps([0, 2]), relay, 1, 1)
    with pytest.raises(OptionError, match="sample=2: 2 were shown, counted from 0"):
        _ = maps.of_sample
    assert list(maps.means) == ["input", "first"]


def test_responses_are_shares_of_the_samples(relay):
    responses = gathered(SpikingResponses(), relay)
    assert responses.layers == ("first", "second")
    assert responses.steps("first") == 2
    assert responses.rate("first", 0).tolist() == [[[1.0, 0.0]], [[0.0, 0.5]]]
    assert responses.rate("first", 1).tolist() == [[[0.5, 0.5]], [[0.0, 0.0]]]
    assert responses.rate("first").tolist() == [[[0.75, 0.25]], [[0.0, 0.25]]]
    assert responses.rate("second", 0).tolist() == [1.0, 0.5]


def test_channels_that_never_fire_are_known_by_step_and_for_all(relay):
    responses = gathered(SpikingResponses(), relay)
    assert responses.silent("first", 0).tolist() == [False, False]
    assert responses.silent("first", 1).tolist() == [False, True]
    assert responses.silent("first").tolist() == [False, False]
    assert responses.silent("second", 1).tolist() == [False, True]


def test_a_wrong_layer_and_a_wrong_step_are_refused(relay):
    responses = gathered(SpikingResponses(), relay)
    for ask in (responses.rate, responses.silent, responses.steps):
        with pytest.raises(UnknownNameError, match="layer: no 'firts'; did you mean 'first'"):
            ask("firts")
    for ask in (responses.rate, responses.silent):
        with pytest.raises(OptionError, match="step=2: first has 2 steps, counted from 0"):
            ask("first", 2)
        for wrong in (-1, 0.5, True):
            with pytest.raises(OptionError, match=f"step={wrong}: must be a whole number"):
                ask("first", wrong)


def test_before_the_first_sample_nothing_is_known():
    activity = SpikingActivity()
    assert activity.rows == {}
    activity.begin(FRAMES[:, :0])
    activity.add("first", FRAMES[:, :0])
    activity.end()
    assert math.isnan(activity.rows["first"].average)


def test_the_rate_of_a_step_has_its_mean_and_variance_over_samples(relay):
    rows = gathered(SpikingActivity(), relay).rows
    assert list(rows) == [NETWORK, "first", "second"]
    first = rows["first"]  # samples: 2/4, 2/4 and 1/4, 0
    assert first.mean.tolist() == [0.375, 0.25]
    assert first.variance.tolist() == [0.125**2, 0.25**2]
    assert (first.average, first.average_variance) == (0.3125, 0.1875**2)
    network = rows[NETWORK]  # of 6 neurons: 4, 3 and 2, 0
    assert network.mean.tolist() == pytest.approx([0.5, 0.25])
    assert network.variance.tolist() == pytest.approx([(1 / 6) ** 2, 0.25**2])


def test_the_average_is_the_meters_firing_rate(build):
    network, frames = build(), bits(4, 6, 2, 8, 8)
    rows = gathered(SpikingActivity(), network, 4, 2, frames=frames).rows
    cost = measure(network, frames)
    assert rows[NETWORK].average == pytest.approx(cost.firing_rate)
    assert (rows[NETWORK].mean * cost.neurons).tolist() == pytest.approx(cost.spikes_by_step)
    for layer in cost.neuron_layers:
        assert rows[layer.layer].average == pytest.approx(layer.firing_rate)


# similarity


def test_steps_and_channels_are_compared_by_their_cosine(relay):
    similarity = gathered(Similarity(), relay)
    half = 1 / math.sqrt(2)  # first sample: (1,0,0,1) against (1,1,0,0) is 1/2; the second has one step with spikes
    assert similarity.steps["first"].tolist() == [[1, pytest.approx(0.5)], [pytest.approx(0.5), 1]]
    # over T·H·W: (1,0,1,1) against (0,1,0,0), first sample; the second sample's second channel is silent
    assert similarity.channels["first"].tolist() == [[pytest.approx(1), 0], [0, pytest.approx(1)]]
    # (1,1) against (1,0), first sample
    assert similarity.steps["second"][0, 1].item() == pytest.approx(half)
    assert list(similarity.channels) == ["first"]


def test_equal_steps_have_similarity_one_and_silent_ones_none(relay):
    frames = bits(1, 3, 2, 4, 4).repeat(4, 1, 1, 1, 1)
    frames[3] = 0
    matrix = gathered(Similarity(), relay, frames=frames).steps["first"]
    assert torch.allclose(matrix[:3, :3], torch.ones(3, 3, dtype=torch.float64))
    assert matrix[3].isnan().all()
    assert matrix[:, 3].isnan().all()
    assert mean_similarity(matrix) == pytest.approx(1)
    assert math.isnan(mean_similarity(torch.ones(1, 1)))


def test_independent_neurons_are_as_alike_as_they_fire(relay):
    matrix = gathered(Similarity(), relay, frames=bits(4, 2, 8, 40, 40, rate=0.3)).steps["first"]
    assert mean_similarity(matrix) == pytest.approx(0.3, abs=0.02)


# noise


class Everywhere(Relay):
    """Its first layer spikes at every pixel of one row in two, whatever it is shown."""

    def forward(self, frames):
        rows = torch.zeros_like(frames)
        rows[..., ::2, :] = 1
        return super().forward(rows)


@pytest.mark.parametrize(
    ("times", "share", "background"),
    [(1, 29 / 32, 60 / 64), (15, 31 / 32, 62 / 64), (64 * 3 / 7, 1, 1), (0, 29 / 32, 60 / 64)],
)
def test_a_spike_where_the_input_has_few_events_is_noise(times, share, background):
    frames = torch.zeros(2, 1, 2, 8, 8)
    frames[0, 0, 0, 2, 2:5] = 1
    frames[:, 0, 1, 2, 3] = 1  # three events in all, one at each side of it, two below: seven on 64 pixels
    frames[0, 0, 1, 3, 3] = 2
    [row] = gathered(NoiseSpikes(times), Everywhere(), frames=frames).rows.values()
    assert row.background == pytest.approx(background)
    assert row.share == pytest.approx(share)
    assert row.spikes == pytest.approx(share * 32 * 4)


def test_noise_of_the_sensor_makes_no_target():
    frames = torch.ones(1, 2, 1, 8, 8)
    frames[:, 0, :, 2, 2] = 5
    [row] = gathered(NoiseSpikes(), Everywhere(), frames=frames).rows.values()
    assert row.background == (63 / 64 + 1) / 2  # the second sample has no target at all
    assert row.share == (31 + 32) / 64


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.0, 3.3])
@pytest.mark.parametrize("size", [(7, 5), (8, 8)])
def test_of_an_even_picture_all_is_background(value, size):
    [row] = gathered(NoiseSpikes(), Everywhere(), frames=torch.full((3, 2, 1, *size), value)).rows.values()
    assert (row.background, row.share) == (1, 1)


def test_what_rounding_parts_is_even():
    frames = torch.zeros(1, 1, 2, 4, 4)
    frames[:, :, 0], frames[:, :, 1] = 0.1, 0.2
    frames[..., 0, ::2, :], frames[..., 1, ::2, :] = 0.3, 0.0
    [row] = gathered(NoiseSpikes(), Everywhere(), frames=frames).rows.values()
    assert (row.background, row.share) == (1, 1)


def test_a_layer_of_one_position_has_no_background(relay):
    assert gathered(NoiseSpikes(), relay, frames=torch.ones(2, 1, 3, 1, 1)).rows == {}
    assert list(gathered(NoiseSpikes(), relay, frames=torch.ones(2, 1, 3, 1, 2)).rows) == ["first"]


@pytest.mark.parametrize("times", ["2", float("nan"), float("inf"), -1, None])
def test_times_that_is_no_number_is_refused(times):
    with pytest.raises(OptionError, match=r"^times=.*: must be a finite number of at least 0"):
        NoiseSpikes(times)


def test_a_smaller_layer_has_larger_cells():
    class Pooled(Relay):
        def forward(self, frames):
            return super().forward(torch.nn.functional.max_pool2d(frames.flatten(0, 1) + 1, 4).reshape(1, 1, 1, 2, 2))

    frames = torch.zeros(1, 1, 1, 8, 8)
    frames[..., 7, 0] = 1
    [row] = gathered(NoiseSpikes(), Pooled(), frames=frames).rows.values()
    assert (row.share, row.background, row.spikes) == (0.75, 0.75, 3)


def test_a_silent_layer_has_no_share(relay):
    [row] = gathered(NoiseSpikes(), relay, frames=torch.zeros(1, 2, 1, 4, 4)).rows.values()
    assert math.isnan(row.share)
    assert (row.background, row.spikes) == (1, 0)


# any batches


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 100))
def test_the_numbers_do_not_depend_on_the_batches(sizes, seed):
    frames = bits(3, sum(sizes), 2, 5, 4, rate=0.2, seed=seed)
    network = Relay()

    def numbers(*sizes):
        maps, responses, activity = SpikeMaps([0, sum(sizes) - 1]), SpikingResponses(), SpikingActivity()
        similarity, noise = Similarity(), NoiseSpikes()
        watch(network, in_batches(frames, *sizes), [maps, responses, activity, similarity, noise])
        yield from maps.means.values()
        yield from (kept for sample in maps.of_sample.values() for kept in sample.values())
        for layer in responses.layers:
            yield responses.rate(layer)
            yield responses.silent(layer, 1)
        for row in activity.rows.values():
            yield torch.stack([row.mean, row.variance])
            yield torch.tensor([row.average, row.average_variance])
        yield from similarity.steps.values()
        yield from similarity.channels.values()
        yield from (torch.tensor([row.share, row.background, row.spikes]) for row in noise.rows.values())

    for one, other in zip(numbers(*sizes), numbers(sum(sizes)), strict=True):
        assert torch.allclose(one.double(), other.double(), atol=1e-6, equal_nan=True)
