"""A modality of comma-separated numbers, for tests of the data path: b"1,2,3" has three tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from spectranet import DecodeError, Modality, Values, option


@dataclass
class NoiseConfig:
    scale: float = option(1.0, "size of the augmentation")


@dataclass
class NumbersConfig:
    offset: float = option(0.0, "added to every number")
    noise: NoiseConfig = field(default_factory=NoiseConfig, metadata={"help": "augmentation"})


def decode(content: bytes) -> np.ndarray:
    try:
        return np.array([float(word) for word in content.decode().split(",") if word])
    except ValueError as error:
        raise DecodeError(f"not numbers: {error}") from error


@dataclass(frozen=True)
class Transform:
    config: NumbersConfig
    train: bool

    def __call__(self, raw: np.ndarray, rng: np.random.Generator) -> Values:
        number = np.arange(len(raw), dtype=np.int32)
        noise = rng.uniform(0, 0.5 * self.config.noise.scale, len(raw)) if self.train else 0.0
        return Values({"x": raw + noise + self.config.offset}, number[:, None], number // 2)


def collate(items) -> dict[str, torch.Tensor]:
    out = torch.zeros(len(items), max(len(item["x"]) for item in items), dtype=torch.float64)
    for row, item in zip(out, items, strict=True):
        row[: len(item["x"])] = torch.from_numpy(item["x"])
    return {"x": out}


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(values.position_NP)) < ratio


def _not_needed(*args: object) -> None:
    raise AssertionError("the data path builds no model")


def numbers(name: str, *fields: str) -> Modality:
    return Modality(
        name=name,
        config=NumbersConfig,
        fields=fields or (name,),
        decode=decode,
        build_transform=Transform,
        collate=collate,
        sample_mask=sample_mask,
        build_encoder=_not_needed,
        build_target_head=_not_needed,
        shard_units=_not_needed,
        flops=_not_needed,
        example=lambda rng: b"1,2,3",
        fingerprint=lambda raw: 0,
    )
