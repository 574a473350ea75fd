import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import OptionError, UnknownNameError
from quietspike.datasets import Augment, Framing, make_events, to_frames
from quietspike.datasets.events import EVENT

SIZE = (16, 10)
ALL = {"flip": 0.5, "rotate": 30, "shift": 2, "drop_time": 0.5, "drop_area": 0.3, "drop_random": 0.4, "noise": 0.5}
DROPS = ("drop_time", "drop_area", "drop_random")
SEEDS = st.integers(0, 2**32)


def on_every_pixel(size=SIZE, seed=0):
    """One event on each pixel, at times of its own."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(size[0]), np.arange(size[1])))
    t = np.sort(np.random.default_rng(seed).permutation(10 * len(x))[: len(x)])
    return make_events(x, y, t, (x + y) % 2)


class Always:
    """In place of a generator: an end of every range."""

    def __init__(self, end):
        self.end = end

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return (low, high)[self.end]

    def integers(self, low, high, size):
        return np.full(size, (low, high - 1)[self.end])


def apply(events, end=1, size=SIZE, **options):
    return Augment(**options).apply(events, size, Always(end))


def draw(seed, events=None, size=SIZE, **options):
    events = on_every_pixel() if events is None else events
    return Augment(**options).apply(events, size, np.random.default_rng(seed))


def places(events):
    return list(zip(events["x"].tolist(), events["y"].tolist(), strict=True))


def kept_of(events, kept):
    """Which events were kept, by their times, which are their own."""
    assert np.array_equal(events[np.isin(events["t"], kept["t"])], kept)
    return np.isin(events["t"], kept["t"])


@given(SEEDS)
def test_off_at_0_it_changes_nothing(seed):
    events = on_every_pixel()
    assert np.array_equal(draw(seed, events), events)


@given(SEEDS, st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in ALL.items()}))
def test_it_is_repeatable_in_order_of_time_and_leaves_what_it_was_given(seed, options):
    events = on_every_pixel()
    events.flags.writeable = False
    before = events.copy()
    changed = draw(seed, events, **options)
    assert np.array_equal(changed, draw(seed, events, **options))
    assert np.array_equal(events, before)
    assert changed.dtype == EVENT
    assert (np.diff(changed["t"]) >= 0).all()


def test_no_event_stays_none():
    for seed in range(50):
        assert len(draw(seed, np.empty(0, EVENT), **ALL)) == 0


# places


def test_left_and_right_are_exchanged():
    events = make_events([0, 3, 15], [0, 1, 9], [5, 6, 7], [0, 1, 1])
    flipped = apply(events, flip=1)
    assert flipped.tolist() == [(15, 0, 5, 0), (12, 1, 6, 1), (0, 9, 7, 1)]
    assert np.array_equal(apply(flipped, flip=1), events)


def test_flips_are_as_often_as_asked_for():
    events = make_events([0], [0], [0], [0])
    flips = sum(draw(seed, events, flip=0.3)["x"][0] == 15 for seed in range(2000))
    assert abs(flips - 600) < 5 * np.sqrt(2000 * 0.3 * 0.7)


@pytest.mark.parametrize(("end", "turns"), [(0, 1), (1, -1)])
@pytest.mark.parametrize("side", [7, 8])
def test_a_quarter_turn_is_numpys(end, turns, side):
    events = on_every_pixel((side, side))[: side * side // 2]
    framing = Framing(2)
    frames = to_frames(events, (side, side, 2), framing)
    turned = to_frames(apply(events, end, (side, side), rotate=90), (side, side, 2), framing)
    assert np.array_equal(turned, np.rot90(frames, turns, axes=(2, 3)))


def test_an_eighth_turn_by_hand():
    """Around (2, 2), as pixels of a 5x5 sensor are: 2·cos 45° = 1.41 rounds to 1, 2·√2·sin 45° is 2."""
    events = make_events([2, 4, 4, 0], [2, 2, 4, 2], range(4), [1] * 4)
    assert places(apply(events, 1, (5, 5), rotate=45)) == [(2, 2), (3, 3), (2, 5), (1, 1)]
    assert places(apply(events, 0, (5, 5), rotate=45)) == [(2, 2), (3, 1), (5, 2), (1, 3)]


def test_angles_are_drawn_evenly_both_ways():
    events = make_events([800], [500], [0], [0])
    turned = np.concatenate([draw(seed, events, (1001, 1001), rotate=60) for seed in range(500)])
    angles = np.rad2deg(np.arctan2(turned["y"] - 500.0, turned["x"] - 500.0))
    assert abs(angles).max() < 60.2
    assert abs(angles.mean()) < 5 * 60 / np.sqrt(3 * 500)
    assert abs(abs(angles).mean() - 30) < 5 * 60 / np.sqrt(12 * 500)


def test_the_scene_is_shifted_as_a_whole_by_every_number_of_pixels():
    events, seen = on_every_pixel(), set()
    for seed in range(300):
        moved = draw(seed, events, shift=2)
        dx, dy = int(moved["x"][0]), int(moved["y"][0])
        assert places(moved) == [(x + dx, y + dy) for x, y in places(events)]
        seen.add((dx, dy))
    assert seen == {(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3)}


def test_what_leaves_the_sensor_is_in_no_frame():
    frames = to_frames(apply(on_every_pixel(), shift=3), (*SIZE, 2), Framing(1))[0].sum(0)
    expected = np.zeros(SIZE[::-1], int)
    expected[3:, 3:] = 1
    assert np.array_equal(frames, expected)


@pytest.mark.parametrize(("end", "x"), [(0, -(2**15)), (1, 2**15 - 1)])
def test_a_place_beyond_16_bits_stays_off_the_sensor(end, x):
    assert places(apply(on_every_pixel(), end, shift=100_000)) == [(x, x)] * 160


# drops


@given(SEEDS, st.sampled_from(DROPS), st.floats(0.01, 1))
def test_dropping_leaves_some_of_the_events_in_their_order(seed, name, share):
    events = on_every_pixel()
    assert 0 < kept_of(events, draw(seed, events, **{name: share})).sum() <= len(events)


@given(SEEDS, st.floats(0.01, 1))
def test_a_dropped_time_is_one_interval_of_at_most_its_share(seed, share):
    events = on_every_pixel()
    dropped = np.flatnonzero(~kept_of(events, draw(seed, events, drop_time=share)))
    if len(dropped):
        assert dropped.tolist() == list(range(dropped[0], dropped[-1] + 1))
        assert np.ptp(events["t"][dropped]) < share * (np.ptp(events["t"]) + 1)


@given(SEEDS, st.floats(0.01, 1))
def test_a_dropped_area_is_one_whole_rectangle_of_at_most_its_share(seed, share):
    events = on_every_pixel()
    dropped = events[~kept_of(events, draw(seed, events, drop_area=share))]
    columns, rows = set(dropped["x"].tolist()), set(dropped["y"].tolist())
    assert set(places(dropped)) == {(x, y) for x in columns for y in rows}
    for found, length in ((columns, SIZE[0]), (rows, SIZE[1])):
        assert sorted(found) == list(range(min(found, default=0), max(found, default=-1) + 1))
        assert len(found) < np.sqrt(share) * length + 1


def test_a_dropped_area_has_the_sensors_shape_and_lies_anywhere():
    """A quarter at most of 160x100 pixels: as many times 16 columns as 10 rows, and it covers the middle."""
    size, covered = (160, 100), np.zeros((160, 100), int)
    events = on_every_pixel(size)
    for seed in range(200):
        dropped = events[~kept_of(events, draw(seed, events, size, drop_area=0.25))]
        columns, rows = len(set(dropped["x"].tolist())), len(set(dropped["y"].tolist()))
        assert abs(columns / 16 - rows / 10) < 0.2
        covered[dropped["x"], dropped["y"]] += 1
    assert (covered[40:120, 25:75] > 0).all()


def test_no_pixel_is_always_spared_by_a_dropped_area():
    """On 8x8 pixels, each is dropped as often as its mirror images are."""
    events, covered = on_every_pixel((8, 8)), np.zeros((8, 8), int)
    for seed in range(2000):
        dropped = events[~kept_of(events, draw(seed, events, (8, 8), drop_area=0.5))]
        covered[dropped["x"], dropped["y"]] += 1
    assert covered.min() > 0
    for mirrored in (covered[::-1], covered[:, ::-1]):
        assert (np.abs(covered - mirrored) < 5 * np.sqrt(covered + mirrored)).all()


@pytest.mark.parametrize("name", DROPS)
def test_shares_are_drawn_evenly_up_to_the_largest(name):
    """Half of the samples lose nothing; the others lose 0 to 60 % of their events, 30 % in the mean."""
    events = on_every_pixel((60, 60))
    lost = np.array([1 - len(draw(seed, events, (60, 60), **{name: 0.6})) / 3600 for seed in range(600)])
    assert abs((lost == 0).sum() - 300) < 5 * np.sqrt(600) / 2
    assert lost.max() < 0.65
    assert abs(lost[lost > 0].mean() - 0.3) < 5 * 0.6 / np.sqrt(12 * 300)


def test_one_of_the_drops_or_none_is_chosen_at_even_chances():
    events, chosen = on_every_pixel((40, 40)), []
    for seed in range(800):
        kept = kept_of(events, draw(seed, events, (40, 40), drop_time=0.5, drop_area=0.5, drop_random=0.5))
        dropped = np.flatnonzero(~kept)
        if not len(dropped):
            chosen.append("none")
        elif np.ptp(dropped) == len(dropped) - 1:
            chosen.append("time")
        else:
            inside = {(x, y) for x in set(events["x"][dropped].tolist()) for y in set(events["y"][dropped].tolist())}
            chosen.append("area" if len(inside) == len(dropped) else "random")
    counts = [chosen.count(name) for name in ("none", "time", "area", "random")]
    assert all(abs(count - 200) < 5 * np.sqrt(800 * 3 / 16) for count in counts), counts


def test_an_only_event_is_never_dropped():
    events = make_events([3], [4], [5], [1])
    for seed in range(100):
        assert np.array_equal(draw(seed, events, **dict.fromkeys(DROPS, 1)), events)


# noise


@given(SEEDS)
def test_noise_is_added_on_the_sensor_within_the_recordings_time(seed):
    events = make_events([3, 4, 5], [4, 4, 4], [-40, 50, 90], [1, 0, 1])
    noisy = draw(seed, events, noise=10)
    assert all(event in noisy.tolist() for event in events.tolist())
    assert (noisy["t"].min(), noisy["t"].max()) == (-40, 90)
    assert set(noisy["x"].tolist()) <= set(range(16))
    assert set(noisy["y"].tolist()) <= set(range(10))


def test_noise_is_poissons_and_everywhere():
    events = on_every_pixel()
    added = [len(draw(seed, events, noise=0.5)) - 160 for seed in range(1000)]
    assert abs(np.mean(added) - 80) < 5 * np.sqrt(80 / 1000)
    assert 0.8 < np.var(added) / 80 < 1.2
    noisy = np.concatenate([draw(seed, make_events([0], [0], [0], [1]), noise=10) for seed in range(1000)])
    counts = to_frames(noisy, (*SIZE, 2), Framing(1))
    assert counts.all()


def test_noise_at_the_last_time_that_64_bits_hold():
    events = make_events([0], [0], np.array([2**63 - 1]), [1])
    assert set(draw(0, events, noise=10)["t"].tolist()) == {2**63 - 1}


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({name: 1.5}, f"{name}=1.5: must be a finite number from 0 to 1") for name in ("flip", *DROPS)),
        ({"flip": True}, "flip=True: must be a finite number from 0 to 1"),
        ({"drop_time": "0.5"}, "drop_time='0.5': must be a finite number from 0 to 1"),
        ({"rotate": 181}, "rotate=181: must be a finite number from 0 to 180"),
        ({"rotate": float("nan")}, "rotate=nan: must be a finite number from 0 to 180"),
        ({"noise": -1}, "noise=-1: must be a finite number from 0 to 10"),
        ({"shift": 1.5}, "shift=1.5: must be a whole number of at least 0"),
        ({"shift": -1}, "shift=-1: must be a whole number of at least 0"),
        ("flip", "augment='flip': must be a mapping, as {flip: 0.5} is"),
        (None, "augment=None: must be a mapping, as {flip: 0.5} is"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, message):
    with pytest.raises(OptionError) as raised:
        Augment.of(options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "hint"), [("flips", "did you mean 'flip'"), ("drop_aera", "did you mean 'drop_area'"), (3, "there are: ")]
)
def test_an_unknown_option_comes_with_the_near_match(name, hint):
    with pytest.raises(UnknownNameError, match=f"^augment: no '{name}'; {hint}"):
        Augment.of({name: 1})
