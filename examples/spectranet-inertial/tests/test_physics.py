"""The simulated sensors obey physics, and so does augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spectranet_inertial.activities import ACTIVITIES, LYING, PLACEMENTS, SITTING, STANDING, Activity
from spectranet_inertial.motion import Person, simulate
from spectranet_inertial.turning import random_rotation, rotation_between, rotations, turn

RATE_HZ = 200.0
TIME_T = np.arange(int(8 * RATE_HZ)) / RATE_HZ
every_place = pytest.mark.parametrize("place", PLACEMENTS)


def ideal() -> Person:
    """Somebody average, with perfect sensors."""
    return Person(pace=1, energy=1, worn_33=np.eye(3), bias_C=np.zeros(6), noise_C=np.zeros(6))


def measured(activity: Activity, place: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return simulate(activity, PLACEMENTS[place], ideal(), TIME_T, rng).astype(np.float64)


@every_place
@pytest.mark.parametrize("posture", [STANDING, SITTING, LYING])
def test_at_rest_only_gravity_is_felt(place: str, posture: str) -> None:
    signal_TC = measured(Activity(("rests",), posture=posture), place)

    np.testing.assert_allclose(np.linalg.norm(signal_TC[:, :3], axis=1), 9.80665, rtol=1e-5)
    np.testing.assert_allclose(signal_TC[:, 3:], 0, atol=1e-6)


@every_place
def test_in_flight_nothing_is_felt(place: str) -> None:
    jumping = replace(ACTIVITIES["jumping"], thigh=0.0, arm=0.0, trunk=0.0)

    force_T = np.linalg.norm(measured(jumping, place)[:, :3], axis=1)

    assert np.mean(force_T < 1e-3) == pytest.approx(jumping.flight, abs=0.03)


@every_place
@pytest.mark.parametrize("name", ACTIVITIES)
def test_the_gyroscope_integrates_to_the_turning_that_the_accelerometer_sees(name: str, place: str) -> None:
    """Without linear acceleration the accelerometer measures gravity's direction alone; from the first
    step's, the gyroscope's steps must lead to each later one."""
    quiet = {"bounce": 0.0, "push": 0.0, "sway": 0.0, "impact": 0.0, "rumble": 0.0, "flight": 0.0}
    still = replace(ACTIVITIES[name], **quiet, ends_in_fall=False)
    signal_TC = measured(still, place)
    up_T3 = signal_TC[:, :3] / np.linalg.norm(signal_TC[:, :3], axis=1, keepdims=True)

    middle_T3 = (signal_TC[1:, 3:] + signal_TC[:-1, 3:]) / 2
    steps_T33 = rotations(middle_T3 / RATE_HZ)
    expected_3, apart = up_T3[0], []
    for step_33, up_3 in zip(steps_T33, up_T3[1:], strict=True):
        expected_3 = step_33.T @ expected_3
        apart.append(np.linalg.norm(expected_3 - up_3))

    assert max(apart) < 0.02


@every_place
@pytest.mark.parametrize("name", ["walking", "running", "climbing", "descending", "jumping", "skipping"])
def test_steps_come_at_the_pace_of_the_activity(name: str, place: str) -> None:
    force_T = np.linalg.norm(measured(ACTIVITIES[name], place)[:, :3], axis=1)
    spectrum = np.abs(np.fft.rfft((force_T - force_T.mean()) * np.hanning(len(force_T)), 8 * len(force_T)))
    frequency = np.fft.rfftfreq(8 * len(force_T), 1 / RATE_HZ)

    strongest = frequency[spectrum.argmax()]

    harmonics = ACTIVITIES[name].pace_hz * np.array([0.5, 1, 2])
    assert np.min(np.abs(strongest / harmonics - 1)) < 0.08


def test_a_fall_is_light_then_hard_then_still() -> None:
    force_T = np.linalg.norm(measured(ACTIVITIES["falling"], "belt")[:, :3], axis=1)

    assert force_T.min() < 0.3 * 9.81 and force_T.max() > 5 * 9.81
    np.testing.assert_allclose(force_T[-200:], 9.80665, rtol=1e-3)
    assert force_T.argmin() < force_T.argmax()


def test_rotations_are_rotations_and_have_a_logarithm() -> None:
    vectors_T3 = np.random.default_rng(0).standard_normal((50, 3))
    matrices_T33 = rotations(vectors_T3)

    np.testing.assert_allclose(
        matrices_T33 @ np.swapaxes(matrices_T33, 1, 2), np.tile(np.eye(3), (50, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices_T33), 1)
    short_T3 = vectors_T3 * 0.6
    np.testing.assert_allclose(rotation_between(np.eye(3)[None], rotations(short_T3)), short_T3, atol=1e-9)


def test_turning_keeps_norms_and_the_angle_between_the_sensors() -> None:
    signal_TC = measured(ACTIVITIES["running"], "wrist")

    turned_TC = turn(signal_TC, rotations(np.array([[0.5, 1.5, -1.0]]))[0])

    for sensor in (slice(0, 3), slice(3, 6)):
        before, after = (np.linalg.norm(each[:, sensor], axis=1) for each in (signal_TC, turned_TC))
        np.testing.assert_allclose(after, before, rtol=1e-10)
        assert np.abs(turned_TC[:, sensor] - signal_TC[:, sensor]).max() > 1
    products = [(each[:, :3] * each[:, 3:]).sum(axis=1) for each in (signal_TC, turned_TC)]
    np.testing.assert_allclose(products[1], products[0], atol=1e-9)


def test_random_rotations_stay_below_their_largest_angle() -> None:
    rng = np.random.default_rng(0)
    matrices = [random_rotation(0.3, rng) for _ in range(200)]
    angles = [np.arccos((np.trace(matrix) - 1) / 2) for matrix in matrices]

    assert 0.28 < max(angles) <= 0.3 + 1e-9
