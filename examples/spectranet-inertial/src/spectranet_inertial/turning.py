"""Rotations, as matrices, and their logarithms.

Shape suffixes: T steps, C the six channels; R, K stand for matrices (3, 3) and axis vectors.
"""

from __future__ import annotations

import numpy as np

__all__ = ["random_rotation", "rotation_between", "rotations", "turn"]

_SMALL = 1e-12


def rotations(vector_T3: np.ndarray) -> np.ndarray:
    """Matrices (T, 3, 3) of rotation vectors (axis times angle in rad), by Rodrigues' formula."""
    angle_T = np.linalg.norm(vector_T3, axis=-1)
    axis_T3 = vector_T3 / np.maximum(angle_T, _SMALL)[:, None]
    x, y, z = axis_T3.T
    zero = np.zeros_like(x)
    cross_T33 = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    sine, versine = np.sin(angle_T)[:, None, None], (1 - np.cos(angle_T))[:, None, None]
    return np.eye(3) + sine * cross_T33 + versine * (cross_T33 @ cross_T33)


def rotation_between(before_T33: np.ndarray, after_T33: np.ndarray) -> np.ndarray:
    """Rotation vectors (T, 3), in the moving frame, that lead from one to the other; below half a turn.

    The logarithm of ``before' after``: what a gyroscope integrates from one step to the next.
    """
    change_T33 = np.swapaxes(before_T33, -1, -2) @ after_T33
    skew_T33 = (change_T33 - np.swapaxes(change_T33, -1, -2)) / 2
    axial_T3 = np.stack([skew_T33[:, 2, 1], skew_T33[:, 0, 2], skew_T33[:, 1, 0]], axis=-1)
    sine_T = np.linalg.norm(axial_T3, axis=-1)
    cosine_T = (np.trace(change_T33, axis1=-2, axis2=-1) - 1) / 2
    angle_T = np.arctan2(sine_T, cosine_T)
    return axial_T3 * np.where(sine_T > _SMALL, angle_T / np.maximum(sine_T, _SMALL), 1.0)[:, None]


def random_rotation(largest_rad: float, rng: np.random.Generator) -> np.ndarray:
    """A matrix (3, 3): any axis, an angle of up to ``largest_rad``."""
    axis = rng.standard_normal(3)
    axis /= max(float(np.linalg.norm(axis)), _SMALL)
    return rotations((axis * rng.uniform(0, largest_rad))[None])[0]


def turn(signal_TC: np.ndarray, rotation_33: np.ndarray) -> np.ndarray:
    """Both sensors of a device worn in another way: one matrix turns acceleration and rotation rate."""
    vectors_T23 = signal_TC.reshape(-1, 2, 3)
    return (vectors_T23 @ rotation_33.T.astype(signal_TC.dtype)).reshape(signal_TC.shape)
