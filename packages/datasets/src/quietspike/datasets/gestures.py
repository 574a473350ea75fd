"""How people move in front of the camera: eleven gestures after DVS128 Gesture, as angles of the joints over time.

Arms move in the picture's plane. Angles grow outwards: with its shoulder at 0 the upper arm hangs, at π/2 it points to
the side; an elbow at 0 is straight. The person faces the camera: the right arm is on the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import pi
from typing import NamedTuple

import numpy as np

from quietspike.datasets.camera import Floats


class Gesture(IntEnum):
    """The classes of DVS128 Gesture in its order; clockwise is as the camera sees it.

    Source:
        Amir et al. 2017, A low power, fully event-based gesture recognition system.
    """

    HAND_CLAPPING = 0
    RIGHT_HAND_WAVE = 1
    LEFT_HAND_WAVE = 2
    RIGHT_ARM_CLOCKWISE = 3
    RIGHT_ARM_COUNTER_CLOCKWISE = 4
    LEFT_ARM_CLOCKWISE = 5
    LEFT_ARM_COUNTER_CLOCKWISE = 6
    ARM_ROLL = 7
    AIR_DRUMS = 8
    AIR_GUITAR = 9
    OTHER_GESTURES = 10


@dataclass(frozen=True)
class Person:
    """What differs between two samples of one gesture; places are in sides of the picture, tones in log intensity.

    Args:
        x, y: middle of the shoulders, y downwards.
        scale: of the body; the lengths below are in its units.
        upper_arm, forearm: lengths, the forearm's to the middle of the hand.
        posture: what the angles have beyond the gesture's, in radians: [right, left][shoulder, elbow].
        tempo: speed of the gesture, relative to the usual.
        phase: of the gesture at time 0, in radians.
        amplitude: of the gesture, relative to the usual.
        unsteadiness: how far the gesture runs ahead of an even tempo and behind it, in radians.
        sway: how far the body moves to either side.
        sway_phases: where unsteadiness and sway begin, in radians.
        shirt, skin: tones, where the background's mean is 0.
        relief: tone of a limb's edge above its middle's.
        backdrop: standard deviation of the background's tones.
    """

    x: float
    y: float
    scale: float
    upper_arm: float
    forearm: float
    posture: tuple[tuple[float, float], tuple[float, float]]
    tempo: float
    phase: float
    amplitude: float
    unsteadiness: float
    sway: float
    sway_phases: tuple[float, float]
    shirt: float
    skin: float
    relief: float
    backdrop: float


def draw_person(random: np.random.Generator) -> Person:
    """Someone at random.

    Any phase is as likely as another, and a tone as likely above the background's as below. So a scene backwards in
    time, and its negative, are as likely as the scene: an edge's polarity alone does not tell where it moves.
    """
    right, left = np.radians(random.uniform(-7, 7, (2, 2))).tolist()
    turns = random.uniform(0, 2 * pi, 3)
    signs = random.choice([-1, 1], 3)
    return Person(
        x=random.uniform(0.46, 0.54),
        y=random.uniform(0.38, 0.44),
        scale=random.uniform(0.85, 1.02),
        upper_arm=random.uniform(0.175, 0.2),
        forearm=random.uniform(0.19, 0.215),
        posture=((right[0], right[1]), (left[0], left[1])),
        tempo=random.uniform(0.75, 1.3),
        phase=turns[0],
        amplitude=random.uniform(0.75, 1.2),
        unsteadiness=random.uniform(0, 0.5),
        sway=random.uniform(0.002, 0.012),
        sway_phases=(turns[1], turns[2]),
        shirt=signs[0] * random.uniform(0.25, 0.6),
        skin=signs[1] * random.uniform(0.8, 1.4),
        relief=signs[2] * random.uniform(0.1, 0.35),
        backdrop=random.uniform(0.05, 0.25),
    )


class _Swing(NamedTuple):
    """A joint's angle in degrees at a phase ψ: start + cosine · (cos ψ - 1) + sine · sin ψ, + ψ itself if it turns.

    A gesture of another amplitude has the same start: hands that clap meet, however far they go apart.
    """

    start: float
    cosine: float = 0
    sine: float = 0
    turns: bool = False

    def at(self, phases: Floats, amplitude: float) -> Floats:
        swung = amplitude * (self.cosine * (np.cos(phases) - 1) + self.sine * np.sin(phases))
        return np.radians(self.start + swung) + self.turns * phases


_IDLE = (_Swing(9, 2), _Swing(7, 0, 3))
_WAVE = (_Swing(65, 0, 5), _Swing(100, 0, 36))
_CIRCLE = (_Swing(0, turns=True), _Swing(20, 9))
_CLAP = (_Swing(15, -12), _Swing(-131, 36))
_ROLL = (_Swing(48, 20), _Swing(-138, -20, 27))
_DRUM = (_Swing(38, 0, 7), _Swing(-131, 0, -48))
_STRUM, _FRET = (_Swing(24, 0, 4), _Swing(-92, 0, 30)), (_Swing(42, 4), _Swing(72, -9))

_MOTIONS = {
    Gesture.HAND_CLAPPING: (2.4, _CLAP, _CLAP, False),
    Gesture.RIGHT_HAND_WAVE: (2.2, _WAVE, _IDLE, False),
    Gesture.LEFT_HAND_WAVE: (2.2, _IDLE, _WAVE, False),
    Gesture.RIGHT_ARM_CLOCKWISE: (1.2, _CIRCLE, _IDLE, False),
    Gesture.LEFT_ARM_COUNTER_CLOCKWISE: (1.2, _IDLE, _CIRCLE, False),
    Gesture.ARM_ROLL: (2.0, _ROLL, _ROLL, True),
    Gesture.AIR_DRUMS: (2.6, _DRUM, _DRUM, True),
    Gesture.AIR_GUITAR: (2.8, _STRUM, _FRET, False),
}
"""Hertz, the right arm's and the left arm's shoulder and elbow, and whether the arms alternate."""

_BACKWARDS = {
    Gesture.RIGHT_ARM_COUNTER_CLOCKWISE: Gesture.RIGHT_ARM_CLOCKWISE,
    Gesture.LEFT_ARM_CLOCKWISE: Gesture.LEFT_ARM_COUNTER_CLOCKWISE,
}
_UNSTEADY_HZ, _SWAY_HZ, _OTHER_SINES = 0.7, 0.45, 3
_SHOULDER = 0.125  # from the middle


def arm_angles(gesture: Gesture, person: Person, times: Floats, random: np.random.Generator) -> Floats:
    """Angles of the joints in radians, [K, 2 (right, left), 2 (shoulder, elbow)].

    Where an arm circles, counter-clockwise is clockwise backwards in time: the same poses in the other order.

    Args:
        gesture: what is done.
        person: who does it, and how.
        times: in seconds, [K].
        random: draws the motion of other gestures, a new one each time; no other gesture draws from it.
    """
    if gesture == Gesture.OTHER_GESTURES:
        return _draw_angles(person, times, random)
    if gesture in _BACKWARDS:
        gesture, times = _BACKWARDS[gesture], -times
    hertz, right, left, alternating = _MOTIONS[gesture]
    phases = person.phase + 2 * pi * person.tempo * hertz * times
    phases += person.unsteadiness * np.sin(2 * pi * _UNSTEADY_HZ * times + person.sway_phases[0])
    arms = (right, phases), (left, -phases if alternating else phases)
    angles: Floats = np.array([[joint.at(phase, person.amplitude) for joint in joints] for joints, phase in arms])
    angles += np.array(person.posture)[:, :, None]
    return angles.transpose(2, 0, 1)


def place_joints(person: Person, angles: Floats, times: Floats) -> Floats:
    """Where the joints are in the picture, [K, 2 (right, left), 3 (shoulder, elbow, hand), 2 (x, y)], in its sides.

    Args:
        person: whose joints; the body sways over time.
        angles: of ``arm_angles``, [K, 2, 2].
        times: in seconds, [K].
    """
    outwards = np.array([-1, 1])
    directions = np.cumsum(angles, axis=2)
    limbs = np.stack([outwards[:, None] * np.sin(directions), np.cos(directions)], axis=3)
    limbs *= np.array([person.upper_arm, person.forearm])[:, None]
    shoulders = np.broadcast_to(_SHOULDER * outwards[:, None, None] * [1, 0], (len(times), 2, 1, 2))
    joints = person.scale * np.cumsum(np.concatenate([shoulders, limbs], axis=2), axis=2)
    joints += person.x, person.y
    joints[..., 0] += person.sway * np.sin(2 * pi * _SWAY_HZ * times + person.sway_phases[1])[:, None, None]
    return joints


def _draw_angles(person: Person, times: Floats, random: np.random.Generator) -> Floats:
    """Each joint's angle is a sum of sines about a middle, all drawn: no two calls give the same motion."""
    middles = np.radians(random.uniform([15, -100], [110, 110], (2, 2)))
    reach, shares = np.radians(random.uniform(30, 60, (2, 2, 1))), random.uniform(0.2, 1, (2, 2, _OTHER_SINES))
    hertz, phases = person.tempo * random.uniform(0.7, 2.2, shares.shape), random.uniform(0, 2 * pi, shares.shape)
    waves = np.sin(2 * pi * hertz * times[:, None, None, None] + phases)
    angles: Floats = middles + person.amplitude * (waves * reach * shares).sum(axis=3) / shares.sum(axis=2)
    return angles
