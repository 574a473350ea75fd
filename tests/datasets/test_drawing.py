from math import pi

import numpy as np
import pytest

from quietspike.datasets.drawing import draw_capsules, draw_ellipses, draw_texture

SIZE = 80


def pictures(shapes, draw, tones=None, relief=0.0, blur=2.0, ground=0.0, size=SIZE):
    """Shapes [N, 4 or 5] in one picture, or [K, N, 4 or 5] in K, as the function under test draws them."""
    shapes = np.array(shapes, dtype=float)
    shapes = shapes[None] if shapes.ndim == 2 else shapes
    levels = np.full((len(shapes), size, size), ground, np.float32)
    draw(levels, shapes, np.ones(shapes.shape[1]) if tones is None else np.array(tones, float), relief, blur)
    return levels


def grid(size=SIZE):
    return np.meshgrid(np.arange(size), np.arange(size), indexing="xy")


def soft(distance, blur):
    """The smooth step as a table of 10,001 distances: the integral of a parabola that is 0 at an edge's ends."""
    places = np.linspace(-blur / 2, blur / 2, 10_001)
    falling = 1 - np.cumsum((blur / 2) ** 2 - places**2) / ((blur / 2) ** 2 - places**2).sum()
    return np.interp(distance, places, falling, left=1, right=0)


def paint(level, distance, tone, relief, depth, blur):
    cover = soft(distance, blur)
    return (1 - cover) * level + cover * (tone + relief * np.minimum(depth, 1) ** 2)


def distance_to_line(shape):
    """The least distance to 2,001 points of the line."""
    x0, y0, x1, y1, _ = shape
    columns, rows = grid()
    nearest = np.full((SIZE, SIZE), np.inf)
    for share in np.linspace(0, 1, 2001):
        away = np.hypot(columns - x0 - share * (x1 - x0), rows - y0 - share * (y1 - y0))
        nearest = np.minimum(nearest, away)
    return nearest


def distance_to_ellipse(shape):
    """The least distance to 4,001 points of the ellipse, below 0 inside."""
    x, y, a, b = shape
    columns, rows = grid()
    nearest = np.full((SIZE, SIZE), np.inf)
    for angle in np.linspace(0, 2 * pi, 4001):
        nearest = np.minimum(nearest, np.hypot(columns - x - a * np.cos(angle), rows - y - b * np.sin(angle)))
    return np.where(((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1, -nearest, nearest)


CAPSULES = [(12.3, 20, 50.6, 33.7, 4.5), (60, 5.2, 40, 70, 6), (33.3, 33.3, 33.3, 33.3, 9), (40, 60, -9, 85, 7)]


@pytest.mark.parametrize(
    "capsule",
    [(20, 40, 60, 40, 6), (25.3, 22.1, 51.8, 60.4, 4), (30.7, 41.2, 34, 36, 8), (40.5, 40.5, 40.5, 40.5, 12)],
)
def test_the_area_of_a_capsule(capsule):
    x0, y0, x1, y1, radius = capsule
    area = pi * radius**2 + 2 * radius * np.hypot(x1 - x0, y1 - y0)
    assert pictures([capsule], draw_capsules).sum() == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("ellipse", [(40, 40, 20, 9), (38.4, 41.7, 12.5, 30), (40.5, 39.5, 10, 10)])
def test_the_area_of_an_ellipse(ellipse):
    assert pictures([ellipse], draw_ellipses).sum() == pytest.approx(pi * ellipse[2] * ellipse[3], rel=0.01)


@pytest.mark.parametrize("blur", [1.0, 3.0])
def test_capsules_are_those_of_a_slow_painter(blur):
    """The painter looks at every pixel of the picture and measures its distance to 2,001 points of each line."""
    tones, relief = [1.0, -0.7, 0.4, 1.3], -0.3
    expected = np.full((SIZE, SIZE), 0.2)
    for capsule, tone in zip(CAPSULES, tones, strict=True):
        distance = distance_to_line(capsule)
        expected = paint(expected, distance - capsule[4], tone, relief, distance / capsule[4], blur)
    drawn = pictures(CAPSULES, draw_capsules, tones, relief, blur, ground=0.2)[0]
    assert abs(drawn - expected).max() < 2e-3


def test_ellipses_are_those_of_a_slow_painter():
    """Their distance is of first order; across an edge of two pixels it is nearly that to the nearest point."""
    ellipses, tones, relief = [(30, 45, 15, 30), (50.5, 20.2, 9, 12)], [0.8, -0.5], 0.25
    columns, rows = grid()
    expected = np.zeros((SIZE, SIZE))
    for (x, y, a, b), tone in zip(ellipses, tones, strict=True):
        depth = np.hypot((columns - x) / a, (rows - y) / b)
        expected = paint(expected, distance_to_ellipse((x, y, a, b)), tone, relief, depth, blur=2)
    assert abs(pictures(ellipses, draw_ellipses, tones, relief)[0] - expected).max() < 0.02


def test_a_line_without_length_is_a_disc_is_an_ellipse_of_equal_axes():
    disc = pictures([(31.4, 47.9, 31.4, 47.9, 11)], draw_capsules, relief=0.4)
    assert np.allclose(disc, pictures([(31.4, 47.9, 11, 11)], draw_ellipses, relief=0.4), atol=1e-5)


def test_a_pixel_in_the_very_middle_of_an_ellipse_is_covered():
    assert pictures([(40, 40, 0.4, 0.4)], draw_ellipses, tones=[2], blur=0.5)[0, 40, 40] == 2


def test_the_last_one_is_on_top():
    line, across = (10, 40, 70, 40, 5), (40, 10, 40, 70, 5)
    assert pictures([line, across], draw_capsules, [1, 2])[0, 40, 40] == 2
    assert pictures([across, line], draw_capsules, [2, 1])[0, 40, 40] == 1


def test_a_picture_cuts_off_what_is_outside_of_it():
    """A corner of a larger picture, whose middle is the smaller one's corner."""
    capsule, ellipse = (-9, 30, 20, -15, 12), (70, 85, 20, 30)
    for shape, draw, places in ((capsule, draw_capsules, 4), (ellipse, draw_ellipses, 2)):
        moved = np.array(shape) + 40 * (np.arange(len(shape)) < places)
        large = pictures([moved], draw, relief=0.3, size=160)[0]
        assert large[:40].any() or large[120:].any()
        assert np.allclose(large[40:120, 40:120], pictures([shape], draw, relief=0.3)[0], atol=1e-6)


@pytest.mark.parametrize("away", [(-500, 0), (500, 0), (0, -500), (0, 500)])
def test_shapes_beyond_the_picture_leave_it_as_it_is(away):
    x, y = np.array([40, 40]) + away
    assert (pictures([(x, y, 20, 10)], draw_ellipses, ground=0.5) == 0.5).all()
    assert (pictures([(x, y, x + 5, y + 5, 10)], draw_capsules, ground=0.5) == 0.5).all()


def test_each_picture_has_its_own_shapes():
    paths = [[(10 + 5 * k, 20, 30, 50, 4), (60, 60, 60 - k, 20, 3)] for k in range(4)]
    together = pictures(paths, draw_capsules)
    assert all((together[k] == pictures(paths[k], draw_capsules)[0]).all() for k in range(4))


def test_levels_change_smoothly_with_time():
    """A shape that moves by a tenth of a pixel changes no level by more than the steepest slope of an edge allows."""
    way = np.array([0.1, 0, 0.1, 0, 0])
    levels = pictures([[np.array([20, 30, 50, 45, 5]) + k * way] for k in range(60)], draw_capsules)
    assert abs(np.diff(levels, axis=0)).max() <= 0.1 * 1.5 / 2 + 1e-6


def test_a_texture_is_smooth_and_of_unit_size():
    textures = np.array([draw_texture(64, np.random.default_rng(seed)) for seed in range(200)])
    assert textures.mean() == pytest.approx(0, abs=0.02)
    assert textures.std() == pytest.approx(1, rel=0.03)
    assert np.diff(textures, axis=1).std() < 0.5  # between independent pixels it is the root of 2
    assert np.mean(textures**3) == pytest.approx(0, abs=0.05)  # a negative is as likely


def test_a_texture_looks_the_same_at_every_size():
    """A pixel of the small one lies between four of the large one."""
    large, small = (draw_texture(size, np.random.default_rng(3)) for size in (256, 128))
    assert np.allclose(large.reshape(128, 2, 128, 2).mean(axis=(1, 3)), small, atol=0.15)


def test_a_texture_is_the_same_along_and_across():
    """No direction is favoured: slopes down and along have the same size, over many textures."""
    textures = [draw_texture(48, np.random.default_rng(seed)) for seed in range(200)]
    down, along = (np.mean([np.diff(texture, axis=axis).std() for texture in textures]) for axis in (0, 1))
    assert down == pytest.approx(along, rel=0.1)
