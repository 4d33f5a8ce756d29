"""A series of beats, float32 (steps, 3): from bytes to patches of two steps, and batches of them.

Shape suffixes: T steps, C channels, N tokens, F features of a token (two steps), B samples.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spectranet import DecodeError, Values

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = b"BEAT"
CHANNELS = 3
STEPS = 2
FEATURES = CHANNELS * STEPS
TOKENS_PER_SEGMENT = 4


def encode(series_TC: np.ndarray) -> bytes:
    body = series_TC.astype("<f4").tobytes()
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode(data: bytes) -> np.ndarray:
    body = data[8:]
    if data[:4] != MAGIC:
        raise DecodeError("is no series of beats: the first four bytes are not BEAT")
    if not body or len(body) % (4 * CHANNELS) or zlib.crc32(body) != int.from_bytes(data[4:8], "little"):
        raise DecodeError(f"is a damaged series of beats of {len(data)} bytes")
    return np.frombuffer(body, dtype="<f4").reshape(-1, CHANNELS)


@dataclass(frozen=True)
class BeatsTransform:
    longest: int
    train: bool

    def __call__(self, series_TC: np.ndarray, rng: np.random.Generator) -> Values:
        surplus = len(series_TC) - self.longest * STEPS
        start = int(rng.integers(surplus + 1)) if self.train and surplus > 0 else 0
        kept_TC = series_TC[start : start + self.longest * STEPS]
        token_N = np.arange(-(-len(kept_TC) // STEPS), dtype=np.int32)
        whole_TC = np.zeros((len(token_N) * STEPS, CHANNELS), dtype=np.float32)
        whole_TC[: len(kept_TC)] = kept_TC
        return Values(
            data={"patches": whole_TC.reshape(-1, FEATURES)},
            position_NP=token_N[:, None],
            segment_N=token_N // TOKENS_PER_SEGMENT,
        )


def build_transform(config: Any, train: bool) -> BeatsTransform:
    return BeatsTransform(config.longest, train)


def collate(samples: list[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    import torch

    longest = max(len(sample["patches"]) for sample in samples)
    patches_BNF = np.zeros((len(samples), longest, FEATURES), dtype=np.float32)
    for row, sample in zip(patches_BNF, samples, strict=True):
        row[: len(sample["patches"])] = sample["patches"]
    return {"patches": torch.from_numpy(patches_BNF)}


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    hidden_N = np.zeros(len(values.position_NP), dtype=bool)
    hidden_N[rng.permutation(len(hidden_N))[: round(ratio * len(hidden_N))]] = True
    return hidden_N


def example(rng: np.random.Generator) -> bytes:
    steps = int(rng.integers(5, 24))
    return encode(rng.standard_normal((steps, CHANNELS)))


def fingerprint(series_TC: np.ndarray) -> int:
    """A bit per channel and eighth of the time: whether it is above its channel's mean."""
    eighths = np.array_split(series_TC - series_TC.mean(0), 8)
    bits = [bool(len(part) and channel > 0) for part in eighths for channel in part.sum(0)]
    return int("".join(str(int(bit)) for bit in bits), 2)


def largest(config: Any) -> Values:
    silence_TC = np.zeros((config.longest * STEPS, CHANNELS), dtype=np.float32)
    return BeatsTransform(config.longest, train=False)(silence_TC, np.random.default_rng(0))
