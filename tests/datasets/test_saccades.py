import numpy as np
import pytest
from tonic.datasets.nmnist import NMNIST as TONIC_NMNIST
from tonic.datasets.nmnist import stabilize

from quietspike.datasets.saccades import DURATION_US, log_views, moving_views, saccade_path


def test_the_path_undoes_tonics_stabilisation():
    """tonic moves N-MNIST's events back along the saccades; a point that moves along ours ends where it was."""
    corners = saccade_path(np.array([1, 100_000, 200_000, 300_000]), reach=7)
    events = np.zeros(4, dtype=TONIC_NMNIST.dtype)
    events["t"] = [1, 105_000, 210_000, 315_000]
    events["x"], events["y"] = np.round(17 + corners[:, 0] + 0.5), np.round(17 + corners[:, 1] + 0.5)
    still = stabilize(events)
    assert len(still) == 4
    assert np.ptp(still["x"]) <= 1  # both round to whole pixels
    assert np.ptp(still["y"]) <= 1


def test_saccades_start_and_end_at_rest():
    times = np.arange(0, DURATION_US + 1, 100)
    path = saccade_path(times, reach=4)
    speed = np.abs(np.diff(path, axis=0)).max(axis=1)
    assert speed[[0, 999, 1000, 1999, 2000, 2999]].max() < 1e-4
    assert speed[500] == pytest.approx(4 * np.pi / 2 / 1000, rel=1e-3)
    assert (np.abs(path) <= 2 + 1e-12).all()
    assert np.allclose(path[0], path[-1])


def test_a_view_at_rest_in_its_own_size_is_the_image():
    image = np.random.default_rng(0).random((8, 8))
    view = moving_views(8, 8, scale=1, offsets=np.zeros(1))
    assert np.allclose(log_views(image, view, view, floor=0.1)[0], np.log(0.1 + 0.9 * image))


def test_a_view_moves_with_its_offset():
    image = np.random.default_rng(0).random((8, 8))
    rows = moving_views(8, 12, scale=1, offsets=np.array([0.0, 1.0]))
    columns = moving_views(8, 12, scale=1, offsets=np.array([0.0, -2.0]))
    still, moved = log_views(image, rows, columns, floor=0.1)
    assert np.allclose(moved[1:, :-2], still[:-1, 2:])


def test_inside_the_image_the_weights_add_up_to_one():
    views = moving_views(8, 20, scale=2, offsets=np.array([0.0, 0.3, -0.7]))
    assert np.allclose(views[:, 6:14].sum(axis=2), 1)


def test_outside_it_is_dark():
    view = moving_views(8, 20, scale=1, offsets=np.zeros(1))
    assert np.allclose(log_views(np.ones((8, 8)), view, view, floor=0.2)[0, :4], np.log(0.2))
