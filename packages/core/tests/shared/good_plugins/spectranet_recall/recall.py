"""Hidden tokens are asked back by place. Shape suffixes: B samples, H hidden tokens, Q queries, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spectranet import (
    Batch,
    BuildContext,
    ConfigError,
    Encoded,
    Loss,
    ModalityBatch,
    Queries,
    gather_tokens,
    sincos_position,
)


class Recall(nn.Module):
    def __init__(self, names: tuple[str, ...], context: BuildContext) -> None:
        super().__init__()
        self.names = names
        self.terms = tuple(f"recall.{name}" for name in names)
        self.asks = nn.ParameterDict({name: nn.Parameter(torch.empty(context.width)) for name in names})
        self.heads = nn.ModuleDict({name: context.build_target_head(name) for name in names})

    def init_weights(self) -> None:
        for ask_D in self.asks.values():
            nn.init.normal_(ask_D)
        for head in self.heads.values():
            head.init_weights()

    def weights(self, batch: Batch) -> dict[str, float]:
        return {f"recall.{name}": float(one.hidden_valid_BH.sum()) for name, one in self.asked(batch)}

    def queries(self, batch: Batch, encoded: Mapping[str, Encoded]) -> Queries | None:
        asked = self.asked(batch)
        if not asked:
            return None
        tokens_BQD = torch.cat([self.ask(name, one) for name, one in asked], dim=1)
        valid_BQ = torch.cat([one.hidden_valid_BH for _, one in asked], dim=1)
        return Queries("recall", tokens_BQD, valid_BQ, reads=tuple(batch.modalities))

    def loss(
        self, states_BQD: Tensor | None, encoded: Mapping[str, Encoded], batch: Batch
    ) -> dict[str, Loss]:
        asked = self.asked(batch)
        if states_BQD is None:
            return {}
        parts = states_BQD.split([one.hidden_BH.shape[1] for _, one in asked], dim=1)
        return {
            f"recall.{name}": self.heads[name](states_BHD, one)
            for (name, one), states_BHD in zip(asked, parts, strict=True)
        }

    def asked(self, batch: Batch) -> list[tuple[str, ModalityBatch]]:
        present = [(name, batch.modalities[name]) for name in self.names if name in batch.modalities]
        return [(name, one) for name, one in present if one.hidden_BH.shape[1]]

    def ask(self, name: str, one: ModalityBatch) -> Tensor:
        ask_D: Tensor = self.asks[name]
        place_BHP = gather_tokens(one.position_BNP, one.hidden_BH)
        return ask_D + sincos_position(place_BHP, len(ask_D)).to(ask_D.dtype)


def build(config: Any, context: BuildContext) -> Recall:
    """The objective on the modalities of the run that it is asked for.

    Raises:
        ConfigError: one of them has no encoder in this run.
    """
    missing = sorted(set(config.modalities) - set(context.encoder_widths))
    if missing:
        there = ", ".join(sorted(context.encoder_widths))
        raise ConfigError(f"objectives.recall.modalities names '{missing[0]}'; this run has {there}")
    return Recall(tuple(config.modalities or sorted(context.encoder_widths)), context)
