import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from quietspike.core import DATASETS, DataError, OptionError, UnknownNameError
from quietspike.core.testing import check_dataset
from quietspike.datasets import DigitsDVS, to_frames
from quietspike.datasets.saccades import DURATION_US

SMALL = {"train": 30, "validation": 20, "test": 10}


def test_it_is_registered():
    assert DATASETS.get("digits_dvs") is DigitsDVS


def test_it_keeps_the_contract():
    check_dataset(DigitsDVS(size=8, steps=2))


def test_the_constructor_is_cheap_and_says_what_comes(cache):
    digits = DigitsDVS(steps=5, size=16)
    assert (digits.steps, digits.input_shape, digits.sensor_size) == (5, (2, 16, 16), (16, 16, 2))
    assert len(digits.classes) == 10
    assert DigitsDVS.sensor_size == (20, 20, 2)
    assert not cache.exists()


def test_the_splits_have_their_sizes_share_nothing_and_hold_the_classes(generated):
    target = load_digits().target
    assert {name: len(split) for name, split in generated.items()} == {"train": 1000, "validation": 297, "test": 500}
    indices = np.concatenate([split.indices for split in generated.values()])
    assert len(np.unique(indices)) == 1797
    for split in generated.values():
        assert (split.labels == target[split.indices]).all()
        expected = np.bincount(target) * len(split) / 1797
        assert (abs(np.bincount(split.labels, minlength=10) - expected) < 2).all()


def test_frames_are_those_of_the_recordings(generated):
    digits, split = DigitsDVS(), generated["validation"]
    for position in (0, 100, 296):
        events = digits.recording(split.indices[position])
        frames = to_frames(events, digits.sensor_size, digits.framing, span=(0, DURATION_US))
        assert (split[position][0].numpy() == frames).all()
        assert frames.sum() == len(events)


def test_events_are_ordered_and_on_the_sensor():
    digits = DigitsDVS()
    for index in (0, 5, 1796):
        events = digits.recording(index)
        assert 1500 < len(events) < 4500
        assert (np.diff(events["t"]) >= 0).all()
        assert events["t"].min() >= 0
        assert events["t"].max() <= DURATION_US
        assert max(events["x"].max(), events["y"].max()) < 20
        assert min(events["x"].min(), events["y"].min()) >= 0
        assert set(events["p"]) == {0, 1}


def test_counts_stay_below_the_stores_limit(generated):
    assert max(split[i][0].max() for split in generated.values() for i in range(50)) < 100


def test_one_seed_is_the_same_bytes_in_another_process(python):
    code = "from quietspike.datasets import DigitsDVS; print(DigitsDVS().recording(7).tobytes().hex(), end='')"
    output, errors = python(code).communicate(timeout=120)
    assert errors == ""
    mine = DigitsDVS().recording(7)
    assert hashlib.sha256(bytes.fromhex(output)).digest() == hashlib.sha256(mine.tobytes()).digest()


@pytest.mark.parametrize(
    ("options", "differs"),
    [({"noise_hz": 0}, True), ({"mismatch": 0}, True), ({"noise_hz": 0, "mismatch": 0}, False)],
)
def test_the_seed_decides_mismatch_and_noise(options, differs):
    one, other = (DigitsDVS(seed=seed, **options).recording(7).tobytes() for seed in (1, 2))
    assert (one != other) == differs


CHANGES = [
    {"seed": 1},
    {"threshold": 0.4},
    {"mismatch": 0.1},
    {"noise_hz": 2},
    {"refractory_us": 0},
    {"steps": 4},
    {"binary": True},
    {"size": 16},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_each_option_of_the_frames_has_a_cache_entry_of_its_own(monkeypatch, change):
    keys = []

    def remember(key, build):
        keys.append(key)
        return {"frames": np.zeros((1797, 1, 2, 1, 1), np.uint8), "labels": load_digits().target}

    monkeypatch.setattr("quietspike.datasets.digits_dvs.cached", remember)
    splits = [DigitsDVS(**options).split("train") for options in ({}, change, {"train": 999})]
    assert keys[0] == keys[2] != keys[1]
    assert (splits[0].indices.tolist() != splits[1].indices.tolist()) == ("seed" in change)


def test_a_recording_does_not_depend_on_which_came_before():
    digits = DigitsDVS(seed=3)
    first = digits.recording(4).tobytes()
    digits.recording(0)
    assert digits.recording(4).tobytes() == first


def test_twice_the_threshold_is_about_half_of_the_events():
    counts = [
        sum(len(DigitsDVS(threshold=threshold, noise_hz=0, refractory_us=0).recording(i)) for i in range(20))
        for threshold in (0.1, 0.2)
    ]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.1)


def test_a_pixel_rests_after_an_event():
    events = DigitsDVS(refractory_us=5000, noise_hz=20).recording(0)
    pixel = events["y"].astype(int) * 20 + events["x"]
    order = np.argsort(pixel, kind="stable")
    same_pixel = np.diff(pixel[order]) == 0
    assert np.diff(events["t"][order])[same_pixel].min() >= 5000


def test_more_noise_is_more_events():
    quiet, noisy = (len(DigitsDVS(noise_hz=hz, refractory_us=0).recording(0)) for hz in (0, 10))
    assert abs(noisy - quiet - 10 * 0.3 * 400) < 5 * np.sqrt(1200)


def test_binary_frames_and_smaller_splits():
    digits = DigitsDVS(binary=True, steps=2, size=10, **SMALL)
    splits = {name: digits.split(name) for name in SMALL}
    assert {name: len(split) for name, split in splits.items()} == SMALL
    frames, _ = splits["train"].__getitems__(range(30))
    assert frames.shape == (30, 2, 2, 10, 10)
    assert set(frames.unique().tolist()) == {0.0, 1.0}
    assert not set(splits["train"].indices) & set(splits["test"].indices)


def test_it_can_be_learnt(generated):
    """Class means of the events over time, the simplest learner, are far above the 10 % of chance."""
    seen = {name: split.__getitems__(range(len(split))) for name, split in generated.items()}
    features = {name: frames.sum(dim=(1, 2)).flatten(1).numpy() for name, (frames, _) in seen.items()}
    learner = NearestCentroid().fit(features["train"], seen["train"][1])
    assert learner.score(features["test"], seen["test"][1]) > 0.8


def test_an_unknown_split_comes_with_the_near_match():
    with pytest.raises(UnknownNameError, match="digits_dvs: split: no 'tets'; did you mean 'test'"):
        DigitsDVS().split("tets")


@pytest.mark.parametrize("index", [-1, 1797])
def test_an_unknown_recording_is_refused(index):
    with pytest.raises(DataError, match=f"no recording {index}"):
        DigitsDVS().recording(index)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"size": 7}, "size=7"),
        ({"seed": -1}, "seed=-1"),
        ({"train": 0}, "train=0"),
        ({"test": 600}, "train=1000, validation=297, test=600 are 1897 samples, and there are 1797"),
        ({"threshold": 0}, "threshold=0"),
        ({"noise_hz": "many"}, "noise_hz='many'"),
        ({"seed": None}, "seed=None"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        DigitsDVS(**options)


def test_without_tonic_it_works(python):
    code = (
        "import sys; sys.modules['tonic'] = None\n"
        "from quietspike.datasets import DigitsDVS, PokerDVS, NMNIST\n"
        "print(len(DigitsDVS(size=8, steps=2).split('test')))"
    )
    assert python(code).communicate(timeout=120) == ("500\n", "")
