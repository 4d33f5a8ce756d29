"""Masked multimodal modelling: what was hidden, asked back position by position.

A query per hidden token says "this modality, this place"; the modality's own target head says what
belongs there and what a miss costs.

Shape suffixes: B samples, H hidden tokens of one modality, Q queries of all modalities, P
coordinates, D decoder width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spectranet import Batch, BuildContext, Encoded, Loss, ModalityBatch, Queries, sincos_position
from spectranet_objectives.config import MmmConfig

__all__ = ["Mmm", "build"]

_MASK_TOKEN_STD = 0.5
"""Near the size of the position code (0.7), so that modalities ask differently from the first step."""


class Mmm(nn.Module):
    """Terms ``mmm.<modality>``, each averaged over that modality's valid hidden tokens.

    A factor of ``scales`` is part of the sum, so the loss that is logged contains it.
    """

    def __init__(self, config: MmmConfig, context: BuildContext) -> None:
        super().__init__()
        self.names = tuple(m for m in sorted(context.encoder_widths) if config.ratios.get(m) != 0)
        self.terms = tuple(f"mmm.{name}" for name in self.names)
        self.scales = {name: float(config.scales.get(name, 1.0)) for name in self.names}
        # one-dimensional, so that the optimizer does not decay them
        self.mask_tokens = nn.ParameterDict({m: nn.Parameter(torch.empty(context.width)) for m in self.names})
        self.target_heads = nn.ModuleDict({m: context.build_target_head(m) for m in self.names})

    def init_weights(self) -> None:
        for token_D in self.mask_tokens.values():
            nn.init.normal_(token_D, std=_MASK_TOKEN_STD)
        for head in self.target_heads.values():
            head.init_weights()  # type: ignore[operator]

    def weights(self, batch: Batch) -> dict[str, float]:
        return {f"mmm.{name}": float(m.hidden_valid_BH.sum()) for name, m in self._asked(batch)}

    def flops(self, batch: Batch) -> int:
        """Of the target heads that declare it, forward."""
        heads = [(self.target_heads[name], m) for name, m in self._asked(batch)]
        return sum(head.flops(int(m.hidden_valid_BH.sum())) for head, m in heads if hasattr(head, "flops"))

    def queries(self, batch: Batch, encoded: Mapping[str, Encoded]) -> Queries | None:
        asked = self._asked(batch)
        if not asked:
            return None
        return Queries(
            group="mmm",
            tokens_BQD=torch.cat([self._tokens(name, m) for name, m in asked], dim=1),
            valid_BQ=torch.cat([m.hidden_valid_BH for _, m in asked], dim=1),
            reads=tuple(batch.modalities),
        )

    def loss(
        self, states_BQD: Tensor | None, encoded: Mapping[str, Encoded], batch: Batch
    ) -> dict[str, Loss]:
        asked = self._asked(batch)
        if states_BQD is None or not asked:
            return {}
        parts = states_BQD.split([m.hidden_BH.shape[1] for _, m in asked], dim=1)
        losses = {}
        for (name, modality), states_BHD in zip(asked, parts, strict=True):
            loss = self.target_heads[name](states_BHD, modality)
            losses[f"mmm.{name}"] = Loss(loss.sum * self.scales[name], loss.weight, loss.metrics)
        return losses

    def _asked(self, batch: Batch) -> list[tuple[str, ModalityBatch]]:
        """The modalities with hidden tokens, in the order of their queries."""
        present = [(name, batch.modalities[name]) for name in self.names if name in batch.modalities]
        return [(name, m) for name, m in present if m.hidden_BH.shape[1] > 0]

    def _tokens(self, name: str, modality: ModalityBatch) -> Tensor:
        token_D: Tensor = self.mask_tokens[name]
        index_BHP = modality.hidden_BH.unsqueeze(-1).expand(-1, -1, modality.position_BNP.shape[-1])
        position_BHP = modality.position_BNP.gather(1, index_BHP)
        return token_D + sincos_position(position_BHP, token_D.shape[0]).to(token_D.dtype)


def build(config: MmmConfig, context: BuildContext) -> Mmm:
    return Mmm(config, context)
