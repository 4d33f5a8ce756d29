"""A modality and two objectives small enough to reason about, for tests of the core."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spectranet import (
    Batch,
    BuildContext,
    Encoded,
    Loss,
    Modality,
    ModalityBatch,
    Objective,
    Queries,
    Rows,
    Values,
    gather_tokens,
    init_linear,
    option,
    sincos_position,
)

FEATURES = 4
TOKENS = 6


@dataclass
class ToyConfig:
    width: int = option(16, "width")


class ToyLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.tanh(self.linear(x))


class ToyEncoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(FEATURES, width)
        self.layers = nn.ModuleList(ToyLayer(width) for _ in range(2))

    def init_weights(self) -> None:
        init_linear(self, std=0.3)

    def forward(self, inputs: ModalityBatch) -> Encoded:
        x = gather_tokens(inputs.data["x"], inputs.visible_BV).to(self.embed.weight.dtype)
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        valid = inputs.visible_valid_BV
        pooled = (x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp_min(1)
        position = gather_tokens(inputs.position_BNP, inputs.visible_BV)
        segment = inputs.segment_BN.gather(1, inputs.visible_BV)
        return Encoded(x, valid, position, segment, pooled)


class ToyHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, FEATURES)

    def init_weights(self) -> None:
        init_linear(self)

    def forward(self, states_BHD, inputs: ModalityBatch) -> Loss:
        target = gather_tokens(inputs.data["x"], inputs.hidden_BH)
        error = (self.out(states_BHD).float() - target).square().mean(-1)
        return Loss((error * inputs.hidden_valid_BH).sum(), float(inputs.hidden_valid_BH.sum()))


@dataclass
class MaskedConfig:
    weight: float = option(1.0, "factor")
    ratios: dict[str, float] = option({}, "modality -> share hidden")


class Masked(nn.Module):
    def __init__(self, context: BuildContext) -> None:
        super().__init__()
        names = sorted(context.encoder_widths)
        self.width = context.width
        self.terms = tuple(f"masked.{name}" for name in names)
        self.mask = nn.ParameterDict({n: nn.Parameter(torch.empty(1, context.width)) for n in names})
        self.heads = nn.ModuleDict({n: context.build_target_head(n) for n in names})

    def init_weights(self) -> None:
        for mask in self.mask.values():
            nn.init.normal_(mask)
        for head in self.heads.values():
            head.init_weights()

    def weights(self, batch: Batch) -> dict[str, float]:
        return {f"masked.{n}": float(m.hidden_valid_BH.sum()) for n, m in batch.modalities.items()}

    def queries(self, batch: Batch, encoded) -> Queries:
        tokens, valid = [], []
        for name, one in batch.modalities.items():
            where = gather_tokens(one.position_BNP, one.hidden_BH)
            tokens.append(self.mask[name] + sincos_position(where, self.width))
            valid.append(one.hidden_valid_BH)
        return Queries("masked", torch.cat(tokens, 1), torch.cat(valid, 1), tuple(batch.modalities))

    def loss(self, states, encoded, batch: Batch) -> dict[str, Loss]:
        sizes = [one.hidden_BH.shape[1] for one in batch.modalities.values()]
        parts = states.split(sizes, dim=1)
        return {
            f"masked.{name}": self.heads[name](part, one)
            for (name, one), part in zip(batch.modalities.items(), parts, strict=True)
        }


@dataclass
class PairConfig:
    weight: float = option(0.5, "factor")


class Scale(nn.Module):
    full_precision = True

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.empty(1))

    def forward(self):
        return self.log.exp()


class Pair(nn.Module):
    """InfoNCE between left and right over the whole global batch, written out plainly."""

    terms = ("pair.left-right",)

    def __init__(self, context: BuildContext) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({n: nn.Linear(w, 8) for n, w in context.encoder_widths.items()})
        self.scale = Scale()

    def init_weights(self) -> None:
        init_linear(self, std=0.3)
        nn.init.constant_(self.scale.log, math.log(5.0))

    def embeddings(self, encoded, batch: Batch) -> dict[str, Rows]:
        ids = batch.ids_B[:, None]
        return {
            n: Rows(F.normalize(self.heads[n](e.pooled_BD).float(), dim=-1), ids) for n, e in encoded.items()
        }

    def global_loss(self, rows: dict[str, Rows]) -> dict[str, Loss]:
        if rows.keys() != {"left", "right"}:
            return {}
        left, right = (_sorted(rows[name]) for name in ("left", "right"))
        logits = self.scale() * left @ right.T
        target = torch.arange(len(logits))
        mean = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return {self.terms[0]: Loss(mean * len(logits), float(len(logits)))}

    def after_step(self) -> None:
        self.scale.log.clamp_(max=math.log(100.0))


def _sorted(rows: Rows):
    return rows.vectors_RE[rows.ids_RI[:, 0].argsort()]


def decode(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.float32).reshape(-1, FEATURES)


@dataclass(frozen=True)
class Transform:
    def __call__(self, raw: np.ndarray, rng: np.random.Generator) -> Values:
        n = len(raw)
        return Values({"x": raw}, np.arange(n, dtype=np.int32)[:, None], np.full(n, -1, dtype=np.int32))


def build_transform(config: ToyConfig, train: bool) -> Transform:
    return Transform()


def collate(items):
    longest = max(len(item["x"]) for item in items)
    out = np.zeros((len(items), longest, FEATURES), dtype=np.float32)
    for row, item in zip(out, items, strict=True):
        row[: len(item["x"])] = item["x"]
    return {"x": torch.from_numpy(out)}


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(len(values.position_NP), dtype=bool)
    mask[rng.permutation(len(mask))[: round(ratio * len(mask))]] = True
    return mask


def toy_modality(name: str) -> Modality:
    return Modality(
        name=name,
        config=ToyConfig,
        fields=(name,),
        decode=decode,
        build_transform=build_transform,
        collate=collate,
        sample_mask=sample_mask,
        build_encoder=lambda config, trunk=None: ToyEncoder(config.width),
        build_target_head=lambda config, width: ToyHead(width),
        shard_units=lambda: (ToyLayer,),
        flops=lambda config, tokens, visible, trunk: (
            2 * visible * config.width * (FEATURES + 2 * config.width)
        ),
        example=lambda rng: rng.standard_normal((TOKENS, FEATURES), dtype=np.float32).tobytes(),
        fingerprint=lambda raw: int(abs(float(raw.sum())) * 1e6),
        mask_ratio=0.34,
    )


MASKED = Objective("masked", MaskedConfig, lambda config, context: Masked(context))
PAIR = Objective("pair", PairConfig, lambda config, context: Pair(context), needs_global_batch=True)


def toy_batch(ids: list[int], seed: int = 0) -> Batch:
    """Samples ``ids``; the content and the mask of a sample depend on (seed, id) alone."""
    modalities = {}
    for offset, name in enumerate(("left", "right")):
        x, hidden, visible = [], [], []
        for i in ids:
            rng = np.random.default_rng((seed, i, offset))
            x.append(rng.standard_normal((TOKENS, FEATURES), dtype=np.float32))
            order = rng.permutation(TOKENS)
            hidden.append(np.sort(order[:2]))
            visible.append(np.sort(order[2:]))
        hidden_BH, visible_BV = torch.tensor(np.array(hidden)), torch.tensor(np.array(visible))
        modalities[name] = ModalityBatch(
            data={"x": torch.tensor(np.array(x))},
            position_BNP=torch.arange(TOKENS)[None, :, None].expand(len(ids), -1, 1),
            segment_BN=torch.full((len(ids), TOKENS), -1),
            valid_BN=torch.ones(len(ids), TOKENS, dtype=torch.bool),
            visible_BV=visible_BV,
            visible_valid_BV=torch.ones_like(visible_BV, dtype=torch.bool),
            hidden_BH=hidden_BH,
            hidden_valid_BH=torch.ones_like(hidden_BH, dtype=torch.bool),
            content_B=torch.tensor(ids),
        )
    return Batch(tuple(map(str, ids)), "toy", torch.tensor(ids), modalities)
