"""Water levels: text to numbers, to tokens of some hours.

T readings, N tokens, S readings in a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectranet import DecodeError, Preview, Values
from spectranet_tides.options import TideOptions


def decode(data: bytes) -> np.ndarray:
    """Metres above the mean, separated by spaces: float32 (T,)."""
    try:
        levels_T = np.array([float(word) for word in data.split()], dtype=np.float32)
    except ValueError as error:
        raise DecodeError(f"no water levels: {error}") from error
    if not len(levels_T) or not np.isfinite(levels_T).all():
        raise DecodeError("no water levels, or some that are not finite")
    return levels_T


@dataclass(frozen=True)
class Cut:
    patch: int
    most: int
    train: bool

    def __call__(self, levels_T: np.ndarray, rng: np.random.Generator) -> Values:
        first = int(rng.integers(0, max(0, len(levels_T) - self.most) + 1)) if self.train else 0
        levels_T = levels_T[first : first + self.most]
        count = -(-len(levels_T) // self.patch)
        levels_NS = np.zeros((count, self.patch), dtype=np.float32)
        levels_NS.reshape(-1)[: len(levels_T)] = levels_T
        place_N = np.arange(count, dtype=np.int32)
        return Values({"levels": levels_NS}, place_N[:, None], place_N // 2)


def build_transform(config: TideOptions, train: bool) -> Cut:
    return Cut(config.patch, config.most, train)


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    hidden_N = np.zeros(len(values.position_NP), dtype=bool)
    hidden_N[rng.permutation(len(hidden_N))[: round(ratio * len(hidden_N))]] = True
    return hidden_N


def example(rng: np.random.Generator) -> bytes:
    hours = np.arange(int(rng.integers(30, 80)))
    levels = rng.normal(0, 0.5) + np.sin(2 * np.pi * (hours / 12.42 + rng.random()))
    return " ".join(f"{level:.3f}" for level in levels).encode()


def fingerprint(levels_T: np.ndarray) -> int:
    """64 bits: which of 65 points along the series rise."""
    points = np.interp(np.linspace(0, len(levels_T) - 1, 65), np.arange(len(levels_T)), levels_T)
    return int.from_bytes(np.packbits(np.diff(points) > 0).tobytes())


def describe(config: TideOptions, levels_T: np.ndarray) -> dict[str, float]:
    return {"duration_h": float(len(levels_T)), "cut_share": float(len(levels_T) > config.most)}


def preview(config: TideOptions, values: Values, hidden_N: np.ndarray) -> list[Preview]:
    levels_NS = values.data["levels"]
    pieces = [(f"{row.mean():.1f}", bool(hidden)) for row, hidden in zip(levels_NS, hidden_N, strict=True)]
    return [Preview("text", pieces=pieces)]


def largest(config: TideOptions) -> Values:
    return Cut(config.patch, config.most, False)(np.ones(config.most, np.float32), np.random.default_rng(0))
