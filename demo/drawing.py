"""Pixels: pictures and clips of scenes, drawn from signed distances so that edges are smooth.

Shape suffixes: T frames, H rows, W columns, C colour channels.
"""

from __future__ import annotations

import numpy as np
from scenes import BACKGROUNDS, COLOURS, PLACES, SIZES, Clip, Picture

__all__ = ["FRAMES", "FRAMES_PER_S", "SIDE", "draw_clip", "draw_picture"]

SIDE = 64
FRAMES = 12
FRAMES_PER_S = 12
_CLIP_RADIUS = 11.0
_Y_HW, _X_HW = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + np.float32(0.5)


def draw_picture(scene: Picture, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W, C): the scene with a little noise in place, size, tilt and colour."""
    x, y = np.asarray(PLACES[scene.place]) + rng.uniform(-3, 3, 2)
    radius = SIZES[scene.size] * rng.uniform(0.9, 1.1)
    tilt = rng.uniform(-0.2, 0.2)
    ink, paper = _tints(scene.colour, scene.background, rng)
    return _to_bytes(_paint(scene.shape, x, y, radius, tilt, ink, paper), rng)


def draw_clip(scene: Clip, rng: np.random.Generator) -> np.ndarray:
    """uint8 (T, H, W, C): one second in which the motion runs its whole course."""
    ink, paper = _tints(scene.colour, scene.background, rng)
    tilt = rng.uniform(-0.2, 0.2)
    off_x, off_y = rng.uniform(-4, 4, 2)
    turn = rng.uniform(0, 2 * np.pi)
    frames = []
    for frame in range(FRAMES):
        x, y, radius = _pose(scene.motion, frame / (FRAMES - 1), turn)
        frames.append(_paint(scene.shape, x + off_x, y + off_y, radius, tilt, ink, paper))
    return _to_bytes(np.stack(frames), rng)


def _pose(motion: str, t: float, turn: float) -> tuple[float, float, float]:
    """Centre x, centre y and radius in pixels at time ``t`` in 0..1; a radius of 0 shows nothing."""
    along = 14 + 36 * t
    middle = SIDE / 2
    match motion:
        case "moves to the right":
            return along, middle, _CLIP_RADIUS
        case "moves to the left":
            return SIDE - along, middle, _CLIP_RADIUS
        case "sinks":
            return middle, along, _CLIP_RADIUS
        case "rises":
            return middle, SIDE - along, _CLIP_RADIUS
        case "grows":
            return middle, middle, 5 + 14 * t
        case "shrinks":
            return middle, middle, 19 - 14 * t
        case "blinks":
            return middle, middle, _CLIP_RADIUS if int(t * 5.99) % 2 == 0 else 0.0
        case "goes round":
            angle = turn + 2 * np.pi * t
            return middle + 15 * float(np.cos(angle)), middle + 15 * float(np.sin(angle)), _CLIP_RADIUS
    raise ValueError(f"no motion {motion!r}")


def _tints(colour: str, background: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    ink = np.asarray(COLOURS[colour], np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    paper = np.asarray(BACKGROUNDS[background], np.float32) + rng.uniform(-10, 10, 3).astype(np.float32)
    return ink, paper


def _paint(
    shape: str, x: float, y: float, radius: float, tilt: float, ink: np.ndarray, paper: np.ndarray
) -> np.ndarray:
    if radius <= 0:
        return np.broadcast_to(paper, (SIDE, SIDE, 3))
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    dx, dy = (_X_HW - np.float32(x)) / np.float32(radius), (_Y_HW - np.float32(y)) / np.float32(radius)
    distance = _outside(shape, cos * dx + sin * dy, cos * dy - sin * dx) * np.float32(radius)
    cover = np.clip(np.float32(0.5) - distance, 0, 1)[..., None]
    return paper + cover * (ink - paper)


def _outside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """About the distance to the shape's outline in units of its radius, negative inside; y points down."""
    far = np.hypot(x, y)
    match shape:
        case "circle":
            return far - 1.0
        case "ring":
            return np.abs(far - 0.78) - 0.22
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) - 0.86
        case "bar":
            return np.maximum(np.abs(x) - 1.05, np.abs(y) - 0.36)
        case "cross":
            a, b = np.abs(x), np.abs(y)
            return np.minimum(np.maximum(a - 1.0, b - 0.3), np.maximum(b - 1.0, a - 0.3))
        case "triangle":
            return np.maximum(y - 0.72, np.abs(x) * 0.87 - y * 0.5 - 0.5)
        case "star":
            return _star(x, y, far)
        case "heart":
            return _heart(x, y)
    raise ValueError(f"no shape {shape!r}")


def _star(x: np.ndarray, y: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Five points of radius 1.1; the edge from each to the inner corner at 0.45 is a straight line."""
    fifth = np.float32(2 * np.pi / 5)
    angle = np.arctan2(x, -y)
    folded = np.abs((angle + fifth / 2) % fifth - fifth / 2)
    px, py = far * np.sin(folded), far * np.cos(folded)
    inner_x, inner_y = 0.45 * np.sin(fifth / 2), 0.45 * np.cos(fifth / 2)
    edge_x, edge_y = inner_x, inner_y - 1.1
    return (px * -edge_y + (py - 1.1) * edge_x) / np.hypot(edge_x, edge_y)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two discs above a square that stands on its corner."""
    a = np.abs(x)
    disc = np.hypot(a - 0.46, y + 0.36) - 0.52
    tip = np.maximum((a + y - 0.96) * 0.7071, -y - 0.36)
    return np.minimum(disc, np.maximum(tip, a - 0.98))


def _to_bytes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = rng.normal(0, 3, image.shape[-3:]).astype(np.float32)
    return np.clip(image + grain, 0, 255).astype(np.uint8)
