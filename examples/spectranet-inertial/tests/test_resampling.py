"""Resampling against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from spectranet_inertial.resampling import even, resample


def tone(time_T: np.ndarray, hz: float) -> np.ndarray:
    return np.stack([np.sin(2 * np.pi * hz * time_T + phase) for phase in range(6)], axis=1)


@pytest.mark.parametrize(("rate_hz", "target_hz"), [(100, 50), (64, 50), (25, 50), (48, 50), (200, 20)])
def test_slow_motion_is_kept(rate_hz: float, target_hz: float) -> None:
    hz = 0.3 * min(rate_hz, target_hz)
    signal_TC = tone(np.arange(int(8 * rate_hz)) / rate_hz, hz)

    found_UC = resample(signal_TC, rate_hz, target_hz, start_s=2.5, steps=int(3 * target_hz))

    wanted_UC = tone(2.5 + np.arange(int(3 * target_hz)) / target_hz, hz)
    np.testing.assert_allclose(found_UC, wanted_UC, atol=1e-3)


def test_motion_too_fast_for_the_new_rate_vanishes_instead_of_folding() -> None:
    signal_TC = tone(np.arange(1600) / 200, hz=43)  # would look like 7 Hz at 50 Hz

    assert np.abs(resample(signal_TC, 200, 50, start_s=2, steps=200)).max() < 1e-3


@pytest.mark.parametrize("rate_hz", [20, 64, 100])
def test_gravity_stays_what_it_is_up_to_the_ends(rate_hz: float) -> None:
    constant_TC = np.full((int(4 * rate_hz), 6), 9.80665)

    found_UC = resample(constant_TC, rate_hz, 50, start_s=0, steps=200)

    np.testing.assert_allclose(found_UC, 9.80665, rtol=1e-6)


def test_equal_rates_change_nothing() -> None:
    signal_TC = tone(np.arange(300) / 50, hz=20).astype(np.float32)

    np.testing.assert_array_equal(resample(signal_TC, 50.01, 50, start_s=1, steps=200), signal_TC[50:250])


def test_irregular_steps_are_made_even() -> None:
    rng = np.random.default_rng(0)
    time_T = np.arange(800) / 100 + rng.uniform(-0.004, 0.004, 800)
    grid_T = np.linspace(time_T[0], time_T[-1], 800)

    evened_TC = even(time_T, tone(time_T, hz=1.5))

    # linear interpolation errs by up to (step omega)² / 8
    np.testing.assert_allclose(evened_TC, tone(grid_T, hz=1.5), atol=(0.018 * 2 * np.pi * 1.5) ** 2 / 8)
    assert np.abs(tone(time_T, hz=1.5) - tone(grid_T, hz=1.5)).max() > 0.03


def test_time_stamps_that_are_rounded_count_as_even() -> None:
    signal_TC = tone(np.arange(100) / 64, hz=2)

    assert even(np.round(np.arange(100) / 64, 3), signal_TC) is signal_TC
