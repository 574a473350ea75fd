"""What a camera on N-MNIST's saccades sees of a still image: where the image stands, and the view of it there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quietspike.datasets.camera import Floats

SACCADE_US = 100_000
DURATION_US = 3 * SACCADE_US

_CORNERS = np.array([[-0.5, -0.5], [0.0, 0.5], [0.5, -0.5], [-0.5, -0.5]])
"""The image's x and y (downwards) between the saccades, in units of their reach: down right, up right, back left."""


def saccade_path(times: npt.NDArray[np.int64], reach: float) -> Floats:
    """Offsets [K, 2] of the image in pixels, x and y (downwards), along a triangle of three saccades.

    Each saccade starts and ends at rest: its way is (1 - cos πu) / 2 at its time u from 0 to 1.

    Args:
        times: in µs from 0 to ``DURATION_US``, [K].
        reach: width and height of the triangle, in pixels.

    Source:
        Orchard et al. 2015, Converting static image datasets to spiking neuromorphic datasets using saccades.
    """
    saccade = np.clip(times // SACCADE_US, 0, 2)
    u = times / SACCADE_US - saccade
    way = ((1 - np.cos(np.pi * u)) / 2)[:, None]
    offsets: Floats = reach * ((1 - way) * _CORNERS[saccade] + way * _CORNERS[saccade + 1])
    return offsets


def moving_views(cells: int, size: int, scale: float, offsets: Floats) -> Floats:
    """Matrices [K, size, cells] that view a line of image cells at a line of pixels: one axis of a bicubic view.

    The image's middle lies at the sensor's middle plus the offset; outside of the image it is dark.

    Args:
        cells: pixels of the image along the axis.
        size: pixels of the sensor along the axis.
        scale: sensor pixels an image pixel.
        offsets: of the image, [K].

    Source:
        Keys 1981, Cubic convolution interpolation for digital image processing (a = -1/2).
    """
    pixels = np.arange(size) - (size - 1) / 2
    positions = (pixels - offsets[:, None]) / scale + (cells - 1) / 2
    d = np.abs(positions[:, :, None] - np.arange(cells))
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def log_views(image: Floats, rows: Floats, columns: Floats, floor: float) -> Floats:
    """Log intensity [K, H, W] of an image, 0 (dark) to 1, seen through the matrices of its two axes.

    Args:
        image: [h, w].
        rows: [K, H, h] of ``moving_views`` down the image.
        columns: [K, W, w] along it.
        floor: intensity of what is dark; the contrast of the scene is 1 / floor.
    """
    seen = np.clip(rows @ image @ columns.transpose(0, 2, 1), 0, 1)
    return np.log(floor + (1 - floor) * seen)
