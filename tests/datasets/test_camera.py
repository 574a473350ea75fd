import numpy as np
import pytest

from quietspike.core import OptionError
from quietspike.datasets.camera import Camera, pixel_thresholds, record

PERFECT = Camera(threshold=0.3, mismatch=0, refractory_us=0, noise_hz=0)


def rng(seed=0):
    return np.random.default_rng(seed)


def film(levels, times, on=0.3, off=0.3, camera=PERFECT):
    levels = np.asarray(levels, dtype=float)
    thresholds = np.broadcast_to(np.array([off, on])[:, None, None], (2, *levels.shape[1:]))
    return record(levels, np.asarray(times), thresholds.copy(), camera, rng())


def waves(scale=1.0):
    """Levels of 4x5 pixels that rise and fall smoothly, each in its own phase."""
    times = np.arange(0, 100_001, 1000)
    phases = np.linspace(0, 3, 20).reshape(4, 5)
    return scale * 3 * np.sin(times[:, None, None] / 15_000 + phases), times


def test_one_pixel_by_hand():
    """The level rises from 0 to 1 in 1 ms and falls: ON at 0.3, 0.6, 0.9; then, from 0.9, OFF at 0.7, 0.5, 0.3, 0.1."""
    events = film([[[0]], [[1]], [[0]]], [0, 1000, 2000], on=0.3, off=0.2)
    assert events["t"].tolist() == [300, 600, 900, 1300, 1500, 1700, 1900]
    assert events["p"].tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_a_change_below_the_threshold_is_kept_for_later():
    events = film([[[0]], [[0.2]], [[0.2]], [[0.4]]], [0, 1000, 2000, 3000])
    assert events["t"].tolist() == [2500]


def test_pixels_do_not_touch_each_other():
    levels = np.zeros((2, 3, 4))
    levels[1, 2, 1] = 0.5
    events = film(levels, [0, 1000])
    assert [event.tolist() for event in events] == [(1, 2, 600, 1)]


def test_without_motion_and_noise_nothing_happens():
    assert len(film(np.full((50, 6, 6), 1.7), np.arange(50))) == 0


def test_the_reference_stays_within_a_threshold_of_the_level():
    """Adding up a pixel's events gives its level again, to within one threshold: what the camera encodes."""
    levels, times = waves()
    events = film(levels, times)
    for row in range(4):
        for column in range(5):
            mine = events[(events["x"] == column) & (events["y"] == row)]
            change = 0.3 * (mine["p"].astype(int) * 2 - 1).sum()
            assert abs(levels[-1, row, column] - levels[0, row, column] - change) < 0.3 + 1e-9


def test_times_are_in_order_and_in_the_recording():
    levels, times = waves()
    events = film(levels, times)
    assert (np.diff(events["t"]) >= 0).all()
    assert events["t"].min() >= 0
    assert events["t"].max() <= times[-1]


def test_twice_the_threshold_is_half_of_the_events():
    levels, times = waves()
    assert len(film(levels, times, on=0.1, off=0.1)) / len(film(levels, times, on=0.2, off=0.2)) == pytest.approx(
        2, rel=0.05
    )


def test_contrast_and_threshold_scale_together():
    levels, times = waves()
    doubled, _ = waves(2)
    assert (film(doubled, times, on=0.25, off=0.25) == film(levels, times, on=0.125, off=0.125)).all()


def test_brightening_and_darkening_mirror_each_other():
    levels, times = waves()
    bright, dark = film(levels, times), film(-levels, times)
    assert (bright["t"] == dark["t"]).all()
    assert (bright["p"] == 1 - dark["p"]).all()


def test_a_pixel_rests_after_an_event():
    levels, times = waves(20)
    rested = film(levels, times, camera=Camera(0.3, 0, refractory_us=700, noise_hz=500))
    unrested = film(levels, times, camera=Camera(0.3, 0, refractory_us=0, noise_hz=500))
    assert len(rested) < len(unrested) / 2
    for row in range(4):
        for column in range(5):
            t = rested["t"][(rested["x"] == column) & (rested["y"] == row)]
            assert (np.diff(t) >= 700).all()


def test_lost_events_do_not_prolong_the_rest():
    levels = np.linspace(0, 3, 11)[:, None, None]
    events = film(levels, np.arange(0, 1001, 100), on=0.3 - 1e-9, camera=Camera(0.3, 0, refractory_us=250, noise_hz=0))
    assert events["t"].tolist() == [100, 400, 700, 1000]


def test_noise_is_poisson_even_and_of_both_polarities():
    times = np.array([0, 2_000_000])
    events = film(np.zeros((2, 10, 10)), times, camera=Camera(0.3, 0, 0, noise_hz=50))
    expected = 50 * 2 * 100
    assert abs(len(events) - expected) < 5 * np.sqrt(expected)
    assert abs(events["p"].mean() - 0.5) < 5 * 0.5 / np.sqrt(len(events))
    cells = np.histogram2d(events["x"], events["y"], bins=10)[0]
    assert cells.var() / cells.mean() == pytest.approx(1, abs=0.5)  # a Poisson count's variance is its mean


def test_thresholds_differ_by_the_mismatch_and_stay_positive():
    thresholds = pixel_thresholds(Camera(threshold=0.4, mismatch=0.1), 100, 100, rng())
    assert thresholds.shape == (2, 100, 100)
    assert thresholds.mean() == pytest.approx(0.4, rel=0.01)
    assert thresholds.std() == pytest.approx(0.04, rel=0.05)
    assert abs(np.corrcoef(thresholds.reshape(2, -1))[0, 1]) < 0.05
    assert pixel_thresholds(Camera(threshold=0.4, mismatch=1), 100, 100, rng()).min() == pytest.approx(0.04)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0},
        {"threshold": float("nan")},
        {"mismatch": -0.1},
        {"refractory_us": 0.5},
        {"refractory_us": None},
        {"noise_hz": -1},
    ],
)
def test_a_bad_option_is_named_with_its_value(options):
    [(name, value)] = options.items()
    with pytest.raises(OptionError, match=f"^{name}={value}: must be"):
        Camera(**options)
