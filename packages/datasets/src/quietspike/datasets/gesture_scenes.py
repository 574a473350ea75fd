"""What the camera sees of a gesture: a person's upper body before a textured wall, and the events of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quietspike.datasets.camera import Camera, Floats, pixel_thresholds, record
from quietspike.datasets.drawing import Levels, draw_capsules, draw_ellipses, draw_texture
from quietspike.datasets.events import Events, slice_by_time
from quietspike.datasets.gestures import Gesture, Person, arm_angles, draw_person, place_joints

_INTERVAL_US = 3_000  # a hand moves by at most 2 pixels of 128 meanwhile, the width of an edge
_BEFORE_US = 1_400_000  # longer than the slowest circle takes
_BEFORE_INTERVAL_US = 10_000  # a limb moves by less than its width
_BLUR = 2.0  # pixels

# In lengths of the body. Of torso and head: downwards from between the shoulders, half the width, half the height.
_TORSO, _HEAD = (0.38, 0.15, 0.42), (-0.19, 0.07, 0.095)
_NECK = (-0.12, 0.02, 0.045)  # from and to, downwards from between the shoulders, and radius
_UPPER_ARM, _FOREARM, _HAND = 0.045, 0.034, 0.038  # radii


def film(gesture: int, camera: Camera, size: int, duration_us: int, *, seed: int, index: int) -> Events:
    """The events of a sample; they depend on the arguments alone.

    Args:
        gesture: one of ``Gesture``.
        camera: its contrast, noise and refractory time.
        size: the sensor's side in pixels.
        duration_us: length of the recording.
        seed: of the camera's pixels, which are the same for all samples, and of the samples.
        index: of the sample; the same person before the same wall, whichever the gesture is.
    """
    # Not [seed, index], for which numpy draws the same as for [seed] where the index is 0.
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    thresholds = pixel_thresholds(camera, size, size, np.random.default_rng(seed))
    # The gesture has begun before the recording, and each pixel's level lies anywhere within a threshold of its
    # reference. From rest, the first edge to pass would make more events than the second, and so tell the direction.
    before, during = np.arange(-_BEFORE_US, 0, _BEFORE_INTERVAL_US), np.arange(0, duration_us, _INTERVAL_US)
    times = np.concatenate([before, during, [duration_us]])
    levels = draw_scene(Gesture(gesture), size, times, random)
    levels[0] += camera.threshold * random.uniform(-1, 1, (size, size))
    return slice_by_time(record(levels, times, thresholds, camera, random), 0, duration_us + 1)


def draw_scene(gesture: Gesture, size: int, times: npt.NDArray[np.int64], random: np.random.Generator) -> Levels:
    """Log intensity [K, size, size] of a random person's gesture, at times in µs, [K]."""
    person = draw_person(random)
    levels: Levels = np.empty((len(times), size, size), np.float32)
    levels[:] = person.backdrop * draw_texture(size, random)
    joints = place_joints(person, arm_angles(gesture, person, times / 1e6, random), times / 1e6)
    draw_body(levels, person, joints)
    return levels


def draw_body(levels: Levels, person: Person, joints: Floats) -> None:
    """Draw a person over the pictures, the arms in front.

    Args:
        levels: log intensity [K, size, size], changed in place.
        person: whose tones and size the body has.
        joints: of ``place_joints``, [K, 2, 3, 2].
    """
    size = levels.shape[1]
    places = size * joints - 0.5  # the middle of the first pixel is half a pixel from the picture's corner
    unit = size * person.scale
    middles, down = places[:, :, 0].mean(axis=1), np.array([0, unit])
    trunk = [_shape(middles + below * down, unit, *axes) for below, *axes in (_TORSO, _HEAD)]
    chin, chest, neck = _NECK
    limbs = [_shape(np.hstack([middles + chin * down, middles + chest * down]), unit, neck)]
    limbs += [_shape(np.hstack([places[:, 0, 0], places[:, 1, 0]]), unit, _UPPER_ARM)]
    for shoulder, elbow, hand in places.transpose(1, 2, 0, 3):
        limbs += [_shape(np.hstack([shoulder, elbow]), unit, _UPPER_ARM)]
        limbs += [_shape(np.hstack([elbow, hand]), unit, _FOREARM), _shape(np.hstack([hand, hand]), unit, _HAND)]
    shirt, skin = person.shirt, person.skin
    draw_ellipses(levels, np.stack(trunk, axis=1), np.array([shirt, skin]), person.relief, _BLUR)
    tones = np.array([skin, shirt, *2 * (shirt, skin, skin)])
    draw_capsules(levels, np.stack(limbs, axis=1), tones, person.relief, _BLUR)


def _shape(places: Floats, unit: float, *radii: float) -> Floats:
    """A row [K, n] for a drawing function: places in pixels, which change over time, and radii, which do not."""
    return np.hstack([places, np.broadcast_to(unit * np.array(radii), (len(places), len(radii)))])
