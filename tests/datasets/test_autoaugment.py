from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from quietspike.datasets import autoaugment
from quietspike.datasets.autoaugment import POLICY, SIGNED, augment_image

LEVELS = range(10)
BOTH_WAYS = range(-9, 10)
BITS = (8, 8, 7, 7, 6, 6, 5, 5, 4, 4)  # 8 - 4/9 of the level, rounded
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
GREY = np.array([0.299, 0.587, 0.114])
EVERY = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)

both_ways = st.sampled_from(BOTH_WAYS)
sides = st.integers(1, 12)
pixels = st.tuples(sides, sides).flatmap(lambda size: arrays(np.uint8, (*size, 3)))


def changed(operation, values, level=0):
    image = Image.fromarray(values)
    before = image.tobytes()
    result = operation(image, level)
    assert (result.mode, result.size) == ("RGB", image.size)
    assert image.tobytes() == before
    return np.asarray(result).astype(int)


def a_row(*values):
    """An image of one row, whose channels are the same."""
    return np.array(values, np.uint8)[None, :, None].repeat(3, axis=2)


# values


@pytest.mark.parametrize("level", LEVELS)
def test_posterize_drops_the_lower_bits(level):
    step = 2 ** (8 - BITS[level])
    assert np.array_equal(changed(autoaugment.posterize, EVERY, level), EVERY // step * step)


@pytest.mark.parametrize("level", LEVELS)
def test_solarize_inverts_what_is_bright(level):
    expected = [255 - value if 9 * value >= 255 * (9 - level) else value for value in range(256)]
    assert changed(autoaugment.solarize, EVERY, level)[..., 0].ravel().tolist() == expected


def test_solarize_by_hand():
    """At level 3 from 170 up."""
    assert changed(autoaugment.solarize, a_row(0, 169, 170, 255), 3)[0, :, 0].tolist() == [0, 169, 85, 0]


@given(pixels)
def test_invert_subtracts_from_white(values):
    assert np.array_equal(changed(autoaugment.invert, values), 255 - values.astype(int))


@given(pixels)
def test_autocontrast_stretches_each_channel(values):
    least, most = values.min((0, 1)).astype(int), values.max((0, 1)).astype(int)
    stretched = (values - least) * 255 / np.maximum(most - least, 1)
    expected = np.where(most > least, stretched, values)
    assert np.abs(changed(autoaugment.autocontrast, values) - expected).max() < 1.001  # cut off, not rounded


def test_autocontrast_by_hand():
    assert changed(autoaugment.autocontrast, a_row(50, 101, 152, 101))[0, :, 0].tolist() == [0, 127, 255, 127]


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_equalize_gives_each_value_the_share_of_darker_ones(seed, step):
    """Of all pixels but those of the brightest value; where 255 divides their number it is exact."""
    random = np.random.default_rng(seed)
    values = np.append(random.integers(0, 200, (255 * step, 3)), [[200] * 3] * 15, axis=0).astype(np.uint8)
    darker = np.stack([(each[None] < each[:, None]).sum(1) for each in values.T], axis=1)
    found = changed(autoaugment.equalize, random.permutation(values, axis=0).reshape(-1, 5, 3)).reshape(-1, 3)
    assert np.abs(np.sort(found, axis=0) - np.sort(darker / step, axis=0)).max() <= 0.5


def test_equalize_by_hand():
    """340 pixels each of three values, and 100 of the brightest: thirds of 255."""
    values = np.repeat([10, 20, 30, 40], [340, 340, 340, 100]).astype(np.uint8)
    shown = changed(autoaugment.equalize, values.reshape(32, 35)[..., None].repeat(3, axis=2))
    assert np.array_equal(shown[..., 0].ravel(), np.repeat([0, 85, 170, 255], [340, 340, 340, 100]))


@given(pixels)
def test_equalize_keeps_the_order_of_values(values):
    found = changed(autoaugment.equalize, values)
    for before, after in zip(values.reshape(-1, 3).T, found.reshape(-1, 3).T, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()


@given(pixels, both_ways)
def test_color_moves_away_from_grey_or_to_it(values, level):
    grey = (values @ GREY)[..., None]
    expected = np.clip(grey + (1 + level / 10) * (values - grey), 0, 255)
    assert np.abs(changed(autoaugment.color, values, level) - expected).max() < 2


@given(pixels, both_ways)
def test_contrast_moves_away_from_the_mean_or_to_it(values, level):
    grey = (values @ GREY).mean()
    expected = np.clip(grey + (1 + level / 10) * (values - grey), 0, 255)
    assert np.abs(changed(autoaugment.contrast, values, level) - expected).max() < 2


@given(pixels, both_ways)
def test_sharpness_moves_away_from_the_smoothed_image_or_to_it(values, level):
    """What has no neighbours on one side is not smoothed."""
    smoothed = values.astype(float)
    height, width, _ = values.shape
    if min(height, width) > 2:
        shifted = [values[y : height - 2 + y, x : width - 2 + x] * SMOOTH[y, x] for y, x in product(range(3), repeat=2)]
        smoothed[1:-1, 1:-1] = sum(shifted)
    expected = np.clip(smoothed + (1 + level / 10) * (values - smoothed), 0, 255)
    assert np.abs(changed(autoaugment.sharpness, values, level) - expected).max() < 2


@pytest.mark.parametrize("name", ["color", "contrast", "sharpness", "rotate", "shear_x", "posterize"])
def test_at_level_0_nothing_is_changed(name):
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(changed(getattr(autoaugment, name), values), values)


# places


def check_moved(found, values, source):
    """Each pixel is the one that ``source`` of its middle is in, black where that is outside, any on an edge of two."""
    height, width, _ = values.shape
    y, x = np.mgrid[0:height, 0:width] + 0.5
    places = source(x, y)
    from_x, from_y = (np.floor(place).astype(int) for place in places)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    taken = values[np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)]
    clear = np.all([np.abs(place - np.rint(place)) > 2e-3 for place in places], axis=0)
    assert clear.mean() > 0.75
    assert np.array_equal(found[clear], np.where(inside[..., None], taken, 0)[clear])


@pytest.mark.parametrize("level", BOTH_WAYS)
def test_rotation_takes_the_nearest_pixel_and_fills_with_black(level):
    values = np.random.default_rng(1).integers(1, 256, (40, 31, 3), dtype=np.uint8)
    angle = np.deg2rad(30 * level / 9)

    def source(x, y):
        x, y = x - 15.5, y - 20
        return 15.5 + np.cos(angle) * x - np.sin(angle) * y, 20 + np.sin(angle) * x + np.cos(angle) * y

    check_moved(changed(autoaugment.rotate, values, level), values, source)


@pytest.mark.parametrize(("level", "turns"), [(27, 1), (-27, -1), (54, 2)])
def test_a_quarter_turn_is_numpys(level, turns):
    values = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(changed(autoaugment.rotate, values, level), np.rot90(values, turns))


@pytest.mark.parametrize("level", BOTH_WAYS)
def test_shear_moves_each_row_by_its_distance_from_the_upper_edge(level):
    values = np.random.default_rng(3).integers(1, 256, (40, 31, 3), dtype=np.uint8)
    found = changed(autoaugment.shear_x, values, level)
    check_moved(found, values, lambda x, y: (x + 0.3 * level / 9 * y, y))


def test_shear_by_hand():
    """At level 9 the middle of the fifth row, 4.5 from the edge, is taken 1.35 to the right of where it is shown."""
    values = np.zeros((5, 5, 3), np.uint8)
    values[:, 3] = 200
    assert changed(autoaugment.shear_x, values, 9)[4, :, 0].tolist() == [0, 0, 200, 0, 0]
    assert changed(autoaugment.shear_x, values, -9)[4, :, 0].tolist() == [0, 0, 0, 0, 200]


# the policy


def test_it_has_25_sub_policies_of_two_operations():
    assert len(POLICY) == 25
    for sub_policy in POLICY:
        assert len(sub_policy) == 2
        for operation, probability, level in sub_policy:
            assert getattr(autoaugment, operation.__name__) is operation
            assert probability in (0, 0.2, 0.4, 0.6, 0.8, 1)
            assert level in LEVELS


@pytest.mark.parametrize(
    ("row", "entries"),
    [
        (0, [("posterize", 0.4, 8), ("rotate", 0.6, 9)]),
        (6, [("solarize", 0.6, 3), ("equalize", 0.6, 7)]),
        (12, [("equalize", 0.0, 7), ("equalize", 0.8, 8)]),
        (17, [("sharpness", 0.4, 7), ("invert", 0.6, 8)]),
        (18, [("shear_x", 0.6, 5), ("equalize", 1.0, 9)]),
        (24, [("equalize", 0.8, 8), ("equalize", 0.6, 3)]),
    ],
)
def test_rows_are_those_of_the_papers_table(row, entries):
    assert [(operation.__name__, *rest) for operation, *rest in POLICY[row]] == entries


def test_the_papers_table_by_operation():
    """How many entries each has, and the sums of their probabilities and levels."""
    counts, chances, steps = Counter(), Counter(), Counter()
    for operation, probability, level in [step for sub_policy in POLICY for step in sub_policy]:
        counts[operation.__name__] += 1
        chances[operation.__name__] += round(10 * probability)
        steps[operation.__name__] += level
    assert counts == {
        **{"equalize": 17, "solarize": 7, "rotate": 6, "color": 6, "posterize": 5},
        **{"invert": 3, "autocontrast": 2, "contrast": 2, "sharpness": 1, "shear_x": 1},
    }
    assert (chances["equalize"], chances["solarize"], chances["rotate"]) == (112, 36, 36)
    assert (chances["color"], chances["posterize"], chances["invert"]) == (38, 28, 18)
    assert (steps["equalize"], steps["solarize"], steps["rotate"]) == (102, 36, 45)
    assert (steps["color"], steps["posterize"], steps["invert"]) == (18, 32, 16)
    assert [POLICY.index(sub_policy) for sub_policy in POLICY[20:]] == [4, 1, 13, 14, 2]


def test_those_that_go_both_ways_are_signed():
    assert {operation.__name__ for operation in SIGNED} == {"shear_x", "rotate", "color", "contrast", "sharpness"}


# the draws


@pytest.fixture
def applied(monkeypatch):
    """The operations of the table write down that they acted, as (sub-policy, place, level), and change nothing."""
    found, signed = [], set()

    def recorder(row, place, was_signed):
        def record(image, level):
            found.append((row, place, level))
            return image

        if was_signed:
            signed.add(record)
        return record

    policy = [
        [(recorder(row, place, step[0] in SIGNED), *step[1:]) for place, step in enumerate(sub_policy)]
        for row, sub_policy in enumerate(POLICY)
    ]
    monkeypatch.setattr(autoaugment, "POLICY", policy)
    monkeypatch.setattr(autoaugment, "SIGNED", signed)
    return found


def test_operations_act_as_often_as_the_table_says(applied):
    """Within five deviations of a binomial count: each operation, both of a sub-policy together, and each sign."""
    draws, random, image = 20_000, np.random.default_rng(5), Image.new("RGB", (1, 1))
    acted, together = Counter(), Counter()
    for _ in range(draws):
        applied.clear()
        augment_image(image, random)
        assert len({row for row, _, _ in applied}) <= 1
        assert [place for _, place, _ in applied] in ([], [0], [1], [0, 1])
        acted.update(applied)
        together.update([applied[0][0]] if len(applied) == 2 else [])

    def check(count, chance):
        assert abs(count - draws * chance) <= 5 * np.sqrt(draws * chance * (1 - chance))

    for row, sub_policy in enumerate(POLICY):
        check(together[row], sub_policy[0][1] * sub_policy[1][1] / 25)
        for place, (operation, probability, level) in enumerate(sub_policy):
            ways = [level, -level] if operation in SIGNED and level else [level]
            for way in ways:
                check(acted.pop((row, place, way), 0), probability / 25 / len(ways))
    assert acted == {}


@given(st.integers(0, 2**32), st.tuples(sides, sides))
def test_it_is_repeatable_and_keeps_the_images_form(seed, size):
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))
    before = image.tobytes()
    first, again = (augment_image(image, np.random.default_rng(seed)) for _ in range(2))
    assert (first.mode, first.size) == ("RGB", image.size)
    assert first.tobytes() == again.tobytes()
    assert image.tobytes() == before
