import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from quietspike.core import OptionError, UnknownNameError
from quietspike.core.testing import check_dataset
from quietspike.datasets import DigitsDVS, Framing, to_frames
from quietspike.datasets.saccades import DURATION_US

from .conftest import mistakes

SMALL = {"train": 30, "validation": 20, "test": 10}


def digits_of(dataset, name):
    """Which of scikit-learn's digits a split holds."""
    return [index for source in dict.fromkeys(item.source for item in dataset._parts[name]) for index in source.indices]


def test_it_keeps_the_contract():
    check_dataset(DigitsDVS(size=8, steps=2))


def test_the_constructor_is_cheap_and_says_what_comes(cache):
    digits = DigitsDVS(steps=5, size=16)
    assert (digits.steps, digits.input_shape, digits.sensor_size) == (5, (2, 16, 16), (16, 16, 2))
    assert len(digits.classes) == 10
    assert DigitsDVS().sensor_size == (20, 20, 2)
    assert digits.sizes() == {"train": 1000, "validation": 297, "test": 500}
    assert not cache.exists()


@pytest.mark.parametrize("counts", [{}, SMALL, {"train": 1, "validation": 1795, "test": 1}])
def test_the_splits_have_their_sizes_share_nothing_and_hold_the_classes(counts):
    target, digits = load_digits().target, DigitsDVS(**counts)
    held = {name: digits_of(digits, name) for name in SMALL}
    sizes = {"train": 1000, "validation": 297, "test": 500, **counts}
    assert {name: len(indices) for name, indices in held.items()} == sizes == digits.sizes()
    assert len({index for indices in held.values() for index in indices}) == sum(sizes.values())
    for indices in held.values():
        expected = np.bincount(target) * len(indices) / 1797
        assert (abs(np.bincount(target[indices], minlength=10) - expected) < 2).all()


def test_frames_and_classes_are_those_of_the_recordings(generated):
    target = load_digits().target
    for name, split in generated.items():
        assert split.labels.tolist() == target[digits_of(DigitsDVS(), name)].tolist()
        for position in (0, 100, len(split) - 1):
            events = DigitsDVS().recording(name, position)
            frames = to_frames(events, (20, 20, 2), Framing(8), span=(0, DURATION_US))
            assert (split[position][0].numpy() == frames).all()
            assert frames.sum() == len(events)


def test_events_are_ordered_and_on_the_sensor():
    digits = DigitsDVS()
    for index in (0, 5, 999):
        events = digits.recording("train", index)
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
    code = "from quietspike.datasets import DigitsDVS; print(DigitsDVS().recording('test', 7).tobytes().hex(), end='')"
    output, errors = python(code).communicate(timeout=120)
    assert errors == ""
    mine = DigitsDVS().recording("test", 7)
    assert hashlib.sha256(bytes.fromhex(output)).digest() == hashlib.sha256(mine.tobytes()).digest()


@pytest.mark.parametrize(
    ("options", "differs"),
    [({"noise_hz": 0}, True), ({"mismatch": 0}, True), ({"noise_hz": 0, "mismatch": 0}, False)],
)
def test_the_seed_decides_mismatch_and_noise(options, differs):
    one, other = (DigitsDVS(seed=seed, **options) for seed in (1, 2))
    shared = next(digit for digit in digits_of(one, "train") if digit in digits_of(other, "train"))
    events = [digits.recording("train", digits_of(digits, "train").index(shared)).tobytes() for digits in (one, other)]
    assert (events[0] != events[1]) == differs


CHANGES = [
    {"seed": 1},
    {"threshold": 0.4},
    {"mismatch": 0.1},
    {"noise_hz": 2},
    {"refractory_us": 0},
    {"steps": 4},
    {"binary": True},
    {"size": 16},
    {"by": "count"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_each_option_of_the_frames_has_a_cache_entry_of_its_own(cache, change):
    def entries():
        return {path.name for path in cache.glob("digits_dvs-*/")}

    DigitsDVS(**SMALL).split("test")
    first = entries()
    DigitsDVS(**SMALL, **change).split("test")
    assert len(first) == 1
    assert len(entries()) == 2
    DigitsDVS(**{**SMALL, "train": 25}).split("test")
    assert len(entries()) == 2


def test_a_recording_does_not_depend_on_which_came_before():
    digits = DigitsDVS(seed=3)
    first = digits.recording("train", 4).tobytes()
    digits.recording("train", 0)
    assert digits.recording("train", 4).tobytes() == first
    divided_otherwise = DigitsDVS(seed=3, train=1795, validation=1, test=1)
    digit = digits_of(digits, "train")[4]
    name = next(name for name in SMALL if digit in digits_of(divided_otherwise, name))
    place = digits_of(divided_otherwise, name).index(digit)
    assert divided_otherwise.recording(name, place).tobytes() == first


def test_twice_the_threshold_is_about_half_of_the_events():
    counts = [
        sum(len(DigitsDVS(threshold=threshold, noise_hz=0, refractory_us=0).recording("train", i)) for i in range(20))
        for threshold in (0.1, 0.2)
    ]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.1)


def test_a_pixel_rests_after_an_event():
    events = DigitsDVS(refractory_us=5000, noise_hz=20).recording("train", 0)
    pixel = events["y"].astype(int) * 20 + events["x"]
    order = np.argsort(pixel, kind="stable")
    same_pixel = np.diff(pixel[order]) == 0
    assert np.diff(events["t"][order])[same_pixel].min() >= 5000


def test_more_noise_is_more_events():
    quiet, noisy = (len(DigitsDVS(noise_hz=hz, refractory_us=0).recording("train", 0)) for hz in (0, 10))
    assert abs(noisy - quiet - 10 * 0.3 * 400) < 5 * np.sqrt(1200)


def test_binary_frames_and_smaller_splits():
    digits = DigitsDVS(binary=True, steps=2, size=10, **SMALL)
    splits = {name: digits.split(name) for name in SMALL}
    assert {name: len(split) for name, split in splits.items()} == SMALL
    frames, _ = splits["train"].__getitems__(range(30))
    assert frames.shape == (30, 2, 2, 10, 10)
    assert set(frames.unique().tolist()) == {0.0, 1.0}


def test_it_can_be_learnt(generated):
    """Class means of the events over time, the simplest learner, are far above the 10 % of chance."""
    seen = {name: split.__getitems__(range(len(split))) for name, split in generated.items()}
    features = {name: frames.sum(dim=(1, 2)).flatten(1).numpy() for name, (frames, _) in seen.items()}
    learner = NearestCentroid().fit(features["train"], seen["train"][1])
    assert learner.score(features["test"], seen["test"][1]) > 0.8


def test_an_unknown_split_comes_with_the_near_match():
    with pytest.raises(UnknownNameError, match="digits_dvs: split: no 'tets'; did you mean 'test'"):
        DigitsDVS().split("tets")


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
        ({"clips": 3}, "clips=3: goes with window_us"),
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
    output, errors = python(code).communicate(timeout=120)
    assert (output, mistakes(errors)) == ("500\n", [])
