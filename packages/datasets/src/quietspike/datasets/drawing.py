"""Pictures of log intensity over time: ellipses and capsules (thick lines with round ends) before a textured ground.

Edges are soft, so a pixel's level changes smoothly while an edge passes it: the simulated camera takes levels as linear
between pictures. Lengths are in pixels; the middle of the first pixel is at (0, 0), and y grows downwards.
"""

from __future__ import annotations

from math import pi, sqrt

import numba
import numpy as np
import numpy.typing as npt

from quietspike.datasets.camera import Floats

Levels = npt.NDArray[np.float32]

_WAVES = 40
_SHORTEST, _LONGEST = 0.08, 0.5  # wavelengths of the texture, in sides of the picture


def draw_texture(size: int, random: np.random.Generator) -> Floats:
    """A smooth random texture [size, size] of mean 0 and standard deviation 1, the same at every size.

    It is a sum of plane waves, all equally strong, in random directions. A texture and its negative are equally likely.
    """
    wavelengths = np.exp(random.uniform(np.log(_SHORTEST), np.log(_LONGEST), _WAVES))
    directions, phases = random.uniform(0, 2 * pi, (2, _WAVES))
    places = (np.arange(size) + 0.5) / size
    turns = 2 * pi * places[:, None] / wavelengths
    # exp(i(a + b)) = exp(ia) exp(ib), so that each wave is one outer product of its rows and its columns.
    rows, columns = (np.exp(1j * turns * share) for share in (np.sin(directions), np.cos(directions)))
    texture: Floats = sqrt(2 / _WAVES) * ((rows * np.exp(1j * phases)) @ columns.T).real
    return texture


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def draw_ellipses(levels: Levels, ellipses: Floats, tones: Floats, relief: float, blur: float) -> None:
    """Draw upright ellipses over the pictures, the last on top.

    Args:
        levels: log intensity [K, H, W], changed in place.
        ellipses: middle x, y and half-axes in x, y, [K, N, 4].
        tones: log intensity of each in its middle, [N].
        relief: what is added to it towards the edge, in proportion to the square of the way there.
        blur: width of an edge.
    """
    for k in range(len(levels)):
        for n in range(len(tones)):
            x, y, a, b = ellipses[k, n]
            top, bottom = _pixels(y - b - blur, y + b + blur, levels.shape[1])
            left, right = _pixels(x - a - blur, x + a + blur, levels.shape[2])
            for row in range(top, bottom):
                for column in range(left, right):
                    u, v = (column - x) / a, (row - y) / b
                    way = sqrt(u * u + v * v)
                    # To first order the distance to a curve f = 0 is f over its gradient, here with f = way - 1.
                    slope = sqrt((u / a) ** 2 + (v / b) ** 2)
                    distance = (way - 1) * way / slope if slope else -min(a, b)
                    level = tones[n] + relief * min(way, 1.0) ** 2
                    levels[k, row, column] += _cover(distance, blur) * (level - levels[k, row, column])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def draw_capsules(levels: Levels, capsules: Floats, tones: Floats, relief: float, blur: float) -> None:
    """Draw capsules over the pictures, the last on top: all points within a radius of a line from end to end.

    Args:
        levels: log intensity [K, H, W], changed in place.
        capsules: x, y of an end, x, y of the other and the radius, [K, N, 5].
        tones: log intensity of each on its line, [N].
        relief: what is added to it towards the edge, in proportion to the square of the way there.
        blur: width of an edge.
    """
    for k in range(len(levels)):
        for n in range(len(tones)):
            x0, y0, x1, y1, radius = capsules[k, n]
            reach = radius + blur
            top, bottom = _pixels(min(y0, y1) - reach, max(y0, y1) + reach, levels.shape[1])
            left, right = _pixels(min(x0, x1) - reach, max(x0, x1) + reach, levels.shape[2])
            along_x, along_y = x1 - x0, y1 - y0
            squared = along_x**2 + along_y**2
            for row in range(top, bottom):
                for column in range(left, right):
                    share = 0.0
                    if squared:
                        share = ((column - x0) * along_x + (row - y0) * along_y) / squared
                        share = min(max(share, 0.0), 1.0)
                    away = sqrt((column - x0 - share * along_x) ** 2 + (row - y0 - share * along_y) ** 2)
                    level = tones[n] + relief * min(away / radius, 1.0) ** 2
                    levels[k, row, column] += _cover(away - radius, blur) * (level - levels[k, row, column])


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """The pixels of a line, from the first up to before the last, that lie between two places."""
    return min(max(int(np.ceil(low)), 0), size), max(min(int(np.floor(high)) + 1, size), 0)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _cover(distance: float, blur: float) -> float:
    """How far a shape covers a pixel at a distance from its edge, inside of it below 0: a smooth step from 1 to 0."""
    inside = min(max(0.5 - distance / blur, 0.0), 1.0)
    return inside * inside * (3 - 2 * inside)
