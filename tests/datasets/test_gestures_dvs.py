import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import OptionError
from quietspike.core.testing import check_dataset
from quietspike.datasets import EVENT, GesturesDVS, to_frames
from quietspike.datasets.camera import Bursts, add_bursts

EMPTY = np.empty(0, EVENT)
FEW = {"train": 2, "validation": 1, "test": 1, "duration_us": 300_000, "size": 32, "downscale": 1, "steps": 4}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIETSPIKE_CACHE", str(tmp_path_factory.mktemp("gestures")))
        dataset = GesturesDVS(**FEW)
        return dataset, {name: dataset.split(name) for name in ("train", "validation", "test")}


def test_it_keeps_the_contract(few):
    check_dataset(few[0])


def test_each_person_makes_every_gesture_once_in_one_split(few):
    dataset, splits = few
    assert {name: len(split) for name, split in splits.items()} == {"train": 22, "validation": 11, "test": 11}
    for split in splits.values():
        assert split.labels.tolist() == list(range(11)) * (len(split) // 11)
    assert dataset.classes[3:7] == (
        "right arm clockwise",
        "right arm counter clockwise",
        "left arm clockwise",
        "left arm counter clockwise",
    )
    people = [dataset.sample(name, 0).events for name in splits] + [dataset.sample("train", 11).events]
    assert len({person.tobytes() for person in people}) == 4


def test_bursts_of_noise_come_on_top_of_the_recording():
    calm, burst = (GesturesDVS(**FEW, burst_share=share).sample("train", 3).events for share in (0, 0.5))
    rows = {event.tobytes() for event in burst}
    assert all(event.tobytes() in rows for event in calm)
    added = len(burst) - len(calm)
    expected = 5 * 0.15 * 32 * 32  # half of 300 ms, at 5 Hz a pixel
    assert abs(added - expected) < 5 * np.sqrt(expected)
    assert (np.diff(burst["t"]) >= 0).all()


@given(share=st.floats(0.01, 1), seed=st.integers(0, 99), duration=st.integers(50_000, 2_000_000))
def test_bursts_take_their_share_of_the_time(share, seed, duration):
    """At 100 kHz a pixel no tenth of a millisecond of a burst stays empty, and none overlaps another."""
    bursts = Bursts(share, 100_000)
    burst = add_bursts(EMPTY, (4, 4), duration, bursts, np.random.default_rng(seed))
    loud = len(np.unique(burst["t"] // 100)) * 100
    bursts_at_most = share * duration / bursts.length_us + 1
    assert abs(loud - share * duration) <= 200 * bursts_at_most
    assert abs(len(burst) - 1.6 * share * duration) < 6 * np.sqrt(1.6 * share * duration) + 2 * bursts_at_most
    assert 0 <= burst["t"].min() <= burst["t"].max() < duration


def test_frames_are_those_of_the_recording_over_its_whole_time(few):
    dataset, splits = few
    for index in (0, 5, 13):
        events = dataset.sample("train", index).events
        assert 0 <= events["t"].min() <= events["t"].max() <= 300_000
        expected = to_frames(events, (32, 32, 2), dataset.options.framing, span=(0, 300_000))
        assert np.array_equal(splits["train"][index][0].numpy(), expected)


def test_defaults_are_those_of_the_real_set():
    dataset = GesturesDVS()
    assert (dataset.sensor_size, dataset.input_shape, dataset.steps) == ((128, 128, 2), (2, 32, 32), 16)
    assert dataset.sizes() == {"train": 550, "validation": 165, "test": 220}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"train": 0}, "train=0"),
        ({"size": 8}, "size=8"),
        ({"burst_share": 2}, "burst_share=2"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(OptionError, match=named):
        GesturesDVS(**options)
