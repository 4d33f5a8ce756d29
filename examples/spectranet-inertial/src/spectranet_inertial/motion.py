"""A simulated person with a device: what its two sensors measure while the person does something.

An orientation and a linear acceleration are given as functions of time; the sensors follow from them by
physics. The gyroscope measures how the orientation changes, the accelerometer measures specific force:
linear acceleration plus the reaction to gravity, turned into the device's axes. At rest its length is 9.81
m/s², in free fall zero.

Shape suffixes: T steps, C the six channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectranet_inertial.activities import LYING, Activity, Placement
from spectranet_inertial.columns import STANDARD_GRAVITY
from spectranet_inertial.turning import random_rotation, rotation_between, rotations

__all__ = ["Person", "simulate"]

_HALF_STEP_S = 1e-3
"""Half of the span over which the orientation's change is taken."""
_STRIKE = 0.07
"""Width of a foot strike, in steps."""
_FALL_S, _HIT_S = 0.5, 0.03
_RUMBLE_HZ = (4.0, 18.0)
_FULL_SCALE = (16 * STANDARD_GRAVITY, np.deg2rad(2000.0))


@dataclass(frozen=True)
class Person:
    """What stays the same from one recording of a person to the next.

    Attributes:
        pace, energy: factors of frequency and strength.
        worn_33: how this person's device differs from the usual orientation.
        bias_C: of the six channels, in m/s² and rad/s.
        noise_C: standard deviations, likewise.
    """

    pace: float
    energy: float
    worn_33: np.ndarray
    bias_C: np.ndarray
    noise_C: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Person:
        return cls(
            pace=float(rng.normal(1, 0.04)),
            energy=float(np.exp(rng.normal(0, 0.12))),
            worn_33=random_rotation(np.deg2rad(12), rng),
            bias_C=rng.normal(0, 1, 6) * np.repeat([0.08, 0.01], 3),
            noise_C=np.repeat([rng.uniform(0.02, 0.06), rng.uniform(0.003, 0.01)], 3),
        )


def simulate(
    activity: Activity,
    placement: Placement,
    person: Person,
    time_T: np.ndarray,
    rng: np.random.Generator,
    pace: float = 1.0,
) -> np.ndarray:
    """float32 (T, 6): m/s² and rad/s at the given times, with bias, noise and saturation.

    Args:
        pace: factor of the activity's frequency, for what is done slowly or quickly.
    """
    course = _Course(activity, placement, person, float(time_T[-1]), pace, rng)
    orientation_T33 = course.orientation(time_T)
    before, after = course.orientation(time_T - _HALF_STEP_S), course.orientation(time_T + _HALF_STEP_S)
    rotation_T3 = rotation_between(before, after) / (2 * _HALF_STEP_S)
    force_T3 = course.acceleration(time_T) + np.array([0.0, 0.0, STANDARD_GRAVITY])
    measured_T3 = np.einsum("tji,tj->ti", orientation_T33, force_T3)
    signal_TC = np.concatenate([measured_T3, rotation_T3], axis=1)
    signal_TC += person.bias_C + rng.standard_normal(signal_TC.shape) * person.noise_C
    limit_C = np.repeat(_FULL_SCALE, 3)
    return np.clip(signal_TC, -limit_C, limit_C).astype(np.float32)


class _Course:
    """One recording's orientation and acceleration as functions of time; chance is drawn once, here."""

    def __init__(
        self,
        activity: Activity,
        placement: Placement,
        person: Person,
        duration_s: float,
        pace: float,
        rng: np.random.Generator,
    ) -> None:
        self.activity, self.placement, self.person = activity, placement, person
        self.pace_hz = activity.pace_hz * person.pace * pace * rng.normal(1, 0.02)
        self.energy = person.energy * pace * np.exp(rng.normal(0, 0.08))
        self.start, self.wobble = rng.uniform(0, 1, 2)
        self.heading_rad = rng.uniform(0, 2 * np.pi)
        self.spin_rads = activity.spin_rads * rng.normal(1, 0.1) * rng.choice([-1, 1])
        self.rumble_hz = rng.uniform(*_RUMBLE_HZ, size=(6, 1))
        self.rumble_phase = rng.uniform(0, 2 * np.pi, size=(6, 3, 1))
        self.lean_33 = random_rotation(np.deg2rad(8), rng)
        self.fall_s = rng.uniform(0.35, 0.65) * duration_s if activity.ends_in_fall else np.inf

    def orientation(self, time_T: np.ndarray) -> np.ndarray:
        """(T, 3, 3): from the device's axes to the world's."""
        activity, upright = self.activity, self.placement.upright
        base_T3 = np.tile(np.asarray(upright[activity.posture]), (len(time_T), 1))
        fallen_T = _eased((time_T - self.fall_s) / _FALL_S)[:, None]
        base_T3 = (1 - fallen_T) * base_T3 + fallen_T * np.asarray(upright[LYING])
        amplitude = getattr(activity, self.placement.limb) * self.energy**0.5
        swing_T = amplitude * _harmonics(self._phase(time_T) * activity.swings, (1.0, 0.25, 0.1))
        axis_3 = np.array([1.0, 0.2, 0.15])  # mostly about the axis across the body
        swing_T3 = (1 - fallen_T) * swing_T[:, None] * axis_3
        heading_T3 = (self.heading_rad + self.spin_rads * time_T)[:, None] * np.array([0.0, 0.0, 1.0])
        placed_T33 = rotations(heading_T3) @ self.lean_33 @ rotations(swing_T3) @ rotations(base_T3)
        return placed_T33 @ self.person.worn_33

    def acceleration(self, time_T: np.ndarray) -> np.ndarray:
        """(T, 3) in m/s², in the world's axes, without gravity; on average nobody speeds away."""
        activity = self.activity
        phase_T = self._phase(time_T)
        forward_T = activity.push * _harmonics(phase_T + 0.25, (1.0, 0.3))
        sideways_T = activity.sway * _harmonics(phase_T / 2, (1.0, 0.3))
        up_T = activity.bounce * _harmonics(phase_T, (1.0, 0.35, 0.15)) + activity.impact * _strikes(phase_T)
        along_T3 = self.energy * self.placement.damping * np.stack([forward_T, sideways_T, up_T], axis=1)
        if activity.flight:
            along_T3[:, 2] += _jumps(phase_T, activity.flight)
        if activity.rumble:
            angle = 2 * np.pi * self.rumble_hz[..., None] * time_T + self.rumble_phase
            along_T3 += activity.rumble * np.sin(angle).sum(axis=0).T / np.sqrt(3)
        if np.isfinite(self.fall_s):
            along_T3 = along_T3 * (time_T < self.fall_s)[:, None]
            along_T3[:, 2] += _falling(time_T - self.fall_s)
        world_33 = rotations(np.array([[0.0, 0.0, self.heading_rad]]))[0]
        return STANDARD_GRAVITY * along_T3 @ world_33.T

    def _phase(self, time_T: np.ndarray) -> np.ndarray:
        """In steps: nobody keeps time exactly."""
        drift_T = 0.04 * np.sin(2 * np.pi * (0.3 * time_T + self.wobble))
        return self.pace_hz * (time_T + drift_T) + self.start


def _harmonics(phase_T: np.ndarray, weights: tuple[float, ...]) -> np.ndarray:
    parts = [
        weight * np.sin(2 * np.pi * (order + 1) * phase_T + order) for order, weight in enumerate(weights)
    ]
    return np.sum(parts, axis=0)


def _strikes(phase_T: np.ndarray) -> np.ndarray:
    """A pulse of height one at every whole step, of mean zero over a step."""
    away_T = phase_T - np.round(phase_T)
    return np.exp(-((away_T / _STRIKE) ** 2)) - _STRIKE * np.sqrt(np.pi)


def _jumps(phase_T: np.ndarray, flight: float) -> np.ndarray:
    """In g: -1 while in the air, then a push that makes up for it, so that the mean over a jump is zero."""
    within_T = phase_T % 1
    push_T = np.pi / 2 * flight / (1 - flight) * np.sin(np.pi * (within_T - flight) / (1 - flight))
    return np.where(within_T < flight, -1.0, push_T)


def _falling(since_T: np.ndarray) -> np.ndarray:
    """In g: nearly free fall, then the floor stops it."""
    drop_T = np.where((since_T >= 0) & (since_T < _FALL_S), -0.85, 0.0)
    hit = 0.85 * _FALL_S / (_HIT_S * np.sqrt(np.pi))
    return drop_T + hit * np.exp(-(((since_T - _FALL_S - 2 * _HIT_S) / _HIT_S) ** 2))


def _eased(share_T: np.ndarray) -> np.ndarray:
    """From 0 to 1, without a jerk at either end."""
    share_T = np.clip(share_T, 0, 1)
    return share_T**2 * (3 - 2 * share_T)
