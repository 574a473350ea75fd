import hashlib
from dataclasses import replace
from math import pi

import numpy as np
import pytest

from quietspike.datasets.camera import Camera
from quietspike.datasets.drawing import draw_texture
from quietspike.datasets.gesture_scenes import draw_body, draw_scene, film
from quietspike.datasets.gestures import Gesture, Person, arm_angles, draw_person, place_joints

TIMES = np.arange(0, 1.2, 0.005)
QUIET = Camera(noise_hz=0)
CIRCLES = {
    Gesture.RIGHT_ARM_CLOCKWISE: Gesture.RIGHT_ARM_COUNTER_CLOCKWISE,
    Gesture.LEFT_ARM_COUNTER_CLOCKWISE: Gesture.LEFT_ARM_CLOCKWISE,
}
CLOCKWISE = {
    Gesture.RIGHT_ARM_CLOCKWISE: 1,
    Gesture.RIGHT_ARM_COUNTER_CLOCKWISE: -1,
    Gesture.LEFT_ARM_CLOCKWISE: 1,
    Gesture.LEFT_ARM_COUNTER_CLOCKWISE: -1,
}
PLAIN = Person(
    x=0.5,
    y=0.4,
    scale=1,
    upper_arm=0.2,
    forearm=0.1,
    posture=((0, 0), (0, 0)),
    tempo=1,
    phase=0,
    amplitude=1,
    unsteadiness=0,
    sway=0,
    sway_phases=(0, 0),
    shirt=0.5,
    skin=1,
    relief=0.2,
    backdrop=0.1,
)
each_gesture = pytest.mark.parametrize("gesture", Gesture, ids=lambda gesture: gesture.name.lower())


def rng(*seed):
    return np.random.default_rng(seed)


def people(number):
    return [draw_person(rng(seed)) for seed in range(number)]


def hands(gesture, person, times=TIMES):
    """Hands relative to their shoulders, [K, 2, 2]."""
    joints = place_joints(person, arm_angles(gesture, person, times, rng(1)), times)
    return joints[:, :, 2] - joints[:, :, 0]


def turned(x, y):
    """By how much a direction turns over time, in radians, clockwise on the screen above 0: y grows downwards."""
    return np.diff(np.unwrap(np.arctan2(y, x)))


# where joints are


def test_joints_by_hand():
    """Hanging; sideways; sideways with the forearms up; upper arms 30° out and forearms level inwards."""
    angles = np.array([(0, 0), (pi / 2, 0), (pi / 2, pi / 2), (pi / 6, -2 * pi / 3)])[:, None].repeat(2, axis=1)
    joints = place_joints(PLAIN, angles, np.zeros(4))
    right_elbows = [(0.375, 0.6), (0.175, 0.4), (0.175, 0.4), (0.275, 0.4 + 0.1 * np.sqrt(3))]
    right_hands = [(0.375, 0.7), (0.075, 0.4), (0.175, 0.3), (0.375, 0.4 + 0.1 * np.sqrt(3))]
    assert np.allclose(joints[:, 0, 0], (0.375, 0.4))
    assert np.allclose(joints[:, 0, 1], right_elbows)
    assert np.allclose(joints[:, 0, 2], right_hands)
    assert np.allclose(joints[:, 1], [1, 0] + joints[:, 0] * [-1, 1])  # the left arm is its mirror image


def test_limbs_keep_their_lengths_and_grow_with_the_body():
    for person in people(5):
        joints = place_joints(person, rng(1).uniform(-3, 3, (50, 2, 2)), rng(2).uniform(0, 9, 50))
        lengths = np.linalg.norm(np.diff(joints, axis=2), axis=3)
        assert np.allclose(lengths, person.scale * np.array([person.upper_arm, person.forearm]))
        assert np.allclose(joints[:, 1, 0, 0] - joints[:, 0, 0, 0], 0.25 * person.scale)


def test_the_body_sways_as_a_whole_and_no_further_than_it_should():
    still, swaying = replace(PLAIN, sway=0), replace(PLAIN, sway=0.03)
    angles, times = np.zeros((1000, 2, 2)), np.linspace(0, 20, 1000)
    moved = place_joints(swaying, angles, times) - place_joints(still, angles, times)
    assert np.allclose(moved, moved[:, :1, :1])
    assert np.allclose(moved[..., 1], 0)
    assert abs(moved[..., 0]).max() == pytest.approx(0.03, rel=1e-3)


# how gestures move


@each_gesture
def test_motion_is_smooth(gesture):
    """Within a millisecond no joint turns by more than 25 radians a second, and its speed changes little."""
    for person in people(20):
        angles = arm_angles(gesture, person, np.arange(0, 1, 1e-3), rng(1))
        assert angles.shape == (1000, 2, 2)
        assert abs(np.diff(angles, axis=0)).max() < 25e-3
        assert abs(np.diff(angles, 2, axis=0)).max() < 1e-3


@pytest.mark.parametrize(("one", "other"), CIRCLES.items())
def test_counter_clockwise_is_clockwise_backwards_in_time(one, other):
    for person in people(10):
        assert (arm_angles(one, person, TIMES, rng()) == arm_angles(other, person, -TIMES, rng())).all()


@pytest.mark.parametrize(("one", "other"), CIRCLES.items())
def test_a_recording_played_backwards_is_one_of_the_other_class(one, other):
    """Of the same person with other phases, all of which are as likely: worked out from sin(a - b) = sin(b + π - a)."""
    length = TIMES[-1]
    for person in people(10):
        backwards = place_joints(person, arm_angles(one, person, TIMES, rng()), TIMES)[::-1]
        twin = replace(
            person,
            phase=person.phase + 2 * pi * 1.2 * person.tempo * length,
            sway_phases=(
                person.sway_phases[0] + 2 * pi * 0.7 * length,
                pi - person.sway_phases[1] - 2 * pi * 0.45 * length,
            ),
        )
        assert np.allclose(place_joints(twin, arm_angles(other, twin, TIMES, rng()), TIMES), backwards)


@pytest.mark.parametrize(("one", "other"), CIRCLES.items())
def test_both_directions_visit_the_same_poses(one, other):
    times = np.arange(600) / 600 / 1.2  # one turn
    visited = [np.sort(hands(gesture, replace(PLAIN, phase=0.3), times), axis=0) for gesture in (one, other)]
    assert np.allclose(*visited, atol=0.005)


@pytest.mark.parametrize(("gesture", "sign"), CLOCKWISE.items())
def test_an_arm_circles_in_its_direction_and_the_other_rests(gesture, sign):
    arm = 0 if gesture.name.startswith("RIGHT") else 1
    for person in people(10):
        way = hands(gesture, person)
        turns = sign * turned(way[:, arm, 0], way[:, arm, 1])
        assert turns.min() > 0
        assert turns.sum() > 2 * pi * 0.75  # of the slowest person's 1.08 turns, a bit less where unsteadiness holds up
        assert np.ptp(way[:, 1 - arm], axis=0).max() < 0.05


@pytest.mark.parametrize(("gesture", "arm"), [(Gesture.RIGHT_HAND_WAVE, 0), (Gesture.LEFT_HAND_WAVE, 1)])
def test_a_wave_is_one_raised_hand_that_goes_to_and_fro(gesture, arm):
    for person in people(10):
        way = hands(gesture, person)
        assert way[:, arm, 1].mean() < 0 < way[:, 1 - arm, 1].mean()  # above its shoulder, and below
        assert np.ptp(way[:, arm, 0]) > 0.1
        assert np.ptp(way[:, 1 - arm], axis=0).max() < 0.05
        assert (np.diff(np.sign(np.diff(way[:, arm, 0]))) != 0).sum() >= 3


def test_left_and_right_mirror_each_other():
    for right, left in (
        (Gesture.RIGHT_HAND_WAVE, Gesture.LEFT_HAND_WAVE),
        (Gesture.RIGHT_ARM_CLOCKWISE, Gesture.LEFT_ARM_COUNTER_CLOCKWISE),
        (Gesture.RIGHT_ARM_COUNTER_CLOCKWISE, Gesture.LEFT_ARM_CLOCKWISE),
    ):
        assert np.allclose(hands(right, PLAIN), hands(left, PLAIN)[:, ::-1] * [-1, 1])


@pytest.mark.parametrize("amplitude", [0.75, 1, 1.2])
def test_hands_that_clap_meet_whatever_their_way(amplitude):
    person = replace(PLAIN, upper_arm=0.19, forearm=0.2, amplitude=amplitude)
    joints = place_joints(person, arm_angles(Gesture.HAND_CLAPPING, person, TIMES, rng()), TIMES)
    apart = np.linalg.norm(joints[:, 0, 2] - joints[:, 1, 2], axis=1)
    assert apart.min() < 0.01
    assert apart.max() > 0.2


def test_in_a_roll_the_hands_go_around_each_other():
    person = replace(PLAIN, upper_arm=0.19, forearm=0.2)
    joints = place_joints(person, arm_angles(Gesture.ARM_ROLL, person, TIMES, rng()), TIMES)
    between = joints[:, 0, 2] - joints[:, 1, 2]
    between -= between.mean(axis=0)
    assert abs(turned(*between.T).sum()) == pytest.approx(2 * pi * 2.0 * TIMES[-1], rel=0.05)


def test_drums_are_beaten_in_turn():
    right, left = hands(Gesture.AIR_DRUMS, PLAIN)[..., 1].T
    assert np.corrcoef(right, left)[0, 1] < -0.8
    assert np.ptp(right) > 0.1


def test_a_guitarist_strums_with_the_right_and_holds_the_neck_with_the_left():
    for person in people(10):
        right, left = hands(Gesture.AIR_GUITAR, person).transpose(1, 0, 2)
        assert np.ptp(right, axis=0).max() > 2 * np.ptp(left, axis=0).max()
        assert left[:, 0].mean() > 0.2  # far to the person's left


def test_other_gestures_are_new_each_time_and_no_other_draws():
    one, other = (arm_angles(Gesture.OTHER_GESTURES, PLAIN, TIMES, rng(seed)) for seed in (1, 2))
    assert abs(one - other).max() > 0.5
    for gesture in list(Gesture)[:-1]:
        random = rng(1)
        arm_angles(gesture, PLAIN, TIMES, random)
        assert random.random() == rng(1).random()


@each_gesture
def test_people_differ(gesture):
    """With the motion of other gestures held the same, the person alone makes the difference."""
    one, other = (hands(gesture, person) for person in people(2))
    assert abs(one - other).max() > 0.02


def test_no_tone_and_no_phase_is_favoured():
    """Tones have either sign, each independently of the others; phases are even around the circle."""
    crowd = people(2000)
    signs = np.sign([(person.shirt, person.skin, person.relief) for person in crowd])
    assert abs(signs.mean(axis=0)).max() < 0.1
    assert abs(np.corrcoef(signs.T) - np.eye(3)).max() < 0.1
    phases = np.array([(person.phase, *person.sway_phases) for person in crowd])
    assert abs(np.exp(1j * phases).mean(axis=0)).max() < 0.1


# what is seen


def test_the_negative_of_a_scene_is_a_scene():
    """With all tones of the other sign; so a polarity alone does not tell a direction."""
    negative = replace(PLAIN, shirt=-PLAIN.shirt, skin=-PLAIN.skin, relief=-PLAIN.relief)
    joints = place_joints(PLAIN, arm_angles(Gesture.ARM_ROLL, PLAIN, TIMES[:9], rng()), TIMES[:9])
    scenes = [np.tile(sign * draw_texture(48, rng(3)), (9, 1, 1)).astype(np.float32) for sign in (1, -1)]
    draw_body(scenes[0], PLAIN, joints)
    draw_body(scenes[1], negative, joints)
    assert np.allclose(scenes[0], -scenes[1], atol=1e-6)


def test_a_body_is_drawn_where_it_is():
    """On a ground of 9, in pixels of 100: head, torso and hands have their tones, corners are the ground."""
    joints = place_joints(PLAIN, np.full((1, 2, 2), 0.1), np.zeros(1))
    levels = np.full((1, 100, 100), 9, np.float32)
    draw_body(levels, PLAIN, joints)
    column, row = (100 * joints[0, 0, 2] - 0.5).round().astype(int)
    assert levels[0, row, column] == pytest.approx(PLAIN.skin, abs=0.05)
    assert levels[0, 20:22, 49:51] == pytest.approx(PLAIN.skin, abs=0.05)
    assert levels[0, 78:80, 49:51] == pytest.approx(PLAIN.shirt, abs=0.05)
    assert (levels[0, :5] == 9).all()
    assert (levels[0, :, [0, 99]] == 9).all()


def test_the_background_stands_still():
    times = np.arange(0, 1_000_000, 50_000)
    levels = draw_scene(Gesture.RIGHT_HAND_WAVE, 64, times, rng(0))
    assert (levels[:, :, -1] == levels[0, :, -1]).all()
    assert levels[0, :, -1].std() > 0.02
    assert abs(np.diff(levels, axis=0)).max() > 0.5


# what is filmed


@each_gesture
def test_events_are_in_order_on_the_sensor_and_as_many_as_a_recordings(gesture):
    for index in range(3):
        events = film(gesture, Camera(), 128, 400_000, seed=0, index=index)
        assert 18_000 < len(events) / 0.4 < 200_000
        assert (np.diff(events["t"]) >= 0).all()
        assert 0 <= events["t"].min() < 2000
        assert 398_000 < events["t"].max() <= 400_000
        assert min(events["x"].min(), events["y"].min()) == 0
        assert max(events["x"].max(), events["y"].max()) == 127
        assert 0.3 < events["p"].mean() < 0.7


def test_one_seed_is_the_same_bytes_in_another_process(python):
    code = (
        "from quietspike.datasets.camera import Camera; from quietspike.datasets.gesture_scenes import film\n"
        "print(film(10, Camera(), 32, 200_000, seed=4, index=7).tobytes().hex(), end='')"
    )
    output, errors = python(code).communicate(timeout=120)
    assert errors == ""
    mine = film(10, Camera(), 32, 200_000, seed=4, index=7)
    assert hashlib.sha256(bytes.fromhex(output)).digest() == hashlib.sha256(mine.tobytes()).digest()


def test_a_sample_depends_on_its_own_arguments_alone():
    first = film(7, Camera(), 32, 100_000, seed=3, index=4).tobytes()
    film(2, Camera(), 32, 100_000, seed=3, index=5)
    assert film(7, Camera(), 32, 100_000, seed=3, index=4).tobytes() == first
    others = [(7, 3, 5), (7, 4, 4), (8, 3, 4)]
    films = [film(gesture, Camera(), 32, 100_000, seed=seed, index=index) for gesture, seed, index in others]
    assert first not in [events.tobytes() for events in films]


def test_a_longer_film_begins_as_a_shorter_one():
    short, long = (film(9, QUIET, 32, duration, seed=0, index=0) for duration in (90_000, 180_000))
    assert (long[: len(short)] == short).all()
    assert len(long) > 1.3 * len(short)


def test_the_interval_between_pictures_is_short_enough(monkeypatch):
    """A camera that sees six times as many pictures counts the same, to 1 %."""
    camera = Camera(noise_hz=0, refractory_us=0)
    coarse = [len(film(gesture, camera, 128, 300_000, seed=0, index=2)) for gesture in (1, 3)]
    monkeypatch.setattr("quietspike.datasets.gesture_scenes._INTERVAL_US", 500)
    fine = [len(film(gesture, camera, 128, 300_000, seed=0, index=2)) for gesture in (1, 3)]
    assert coarse == pytest.approx(fine, rel=0.01)


@pytest.mark.parametrize(("gesture", "sign"), CLOCKWISE.items())
def test_the_direction_shows_in_the_events(gesture, sign):
    """The middle of the events of each 30 ms turns about the shoulder in the class's direction."""
    for index in range(4):
        person = draw_person(np.random.default_rng(np.random.SeedSequence(0, spawn_key=(index,))))
        shoulder = person.x + person.scale * (-0.125 if gesture.name.startswith("RIGHT") else 0.125), person.y
        events = film(gesture, QUIET, 64, 600_000, seed=0, index=index)
        window = events["t"] // 30_001
        number = np.bincount(window)
        x, y = (
            np.bincount(window, events[axis]) / number / 64 - start for axis, start in zip("xy", shoulder, strict=True)
        )
        assert sign * turned(x, y).sum() > pi / 2


def test_the_edge_in_front_of_an_arm_makes_as_many_events_as_the_one_behind():
    """ON and OFF even out over the people of one tone; from rest, what is in front would make a tenth more."""
    balance = []
    for index in range(40):
        person = draw_person(np.random.default_rng(np.random.SeedSequence(0, spawn_key=(index,))))
        events = film(Gesture.RIGHT_ARM_CLOCKWISE, QUIET, 48, 1_000_000, seed=0, index=index)
        balance.append(np.sign(person.skin) * (2 * events["p"].mean() - 1))
    assert abs(np.mean(balance)) < 0.015
