"""What belongs together is near: InfoNCE over the global batch. Shape suffixes: R rows, E joint width."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Batch, BuildContext, ConfigError, Encoded, Loss, Rows, init_linear


class Match(nn.Module):
    def __init__(self, config: Any, context: BuildContext) -> None:
        super().__init__()
        self.scale = config.scale
        widths = context.encoder_widths
        self.heads = nn.ModuleDict({name: nn.Linear(width, config.width) for name, width in widths.items()})
        self.pairs = sorted(
            {pair for names in context.combinations for pair in combinations(sorted(names), 2)}
        )
        self.terms = tuple(f"match.{a}-{b}" for a, b in self.pairs)

    def init_weights(self) -> None:
        init_linear(self, std=0.3)

    def embeddings(self, encoded: Mapping[str, Encoded], batch: Batch) -> dict[str, Rows]:
        return {
            name: Rows(self.embed(name, one), batch.ids_B.cpu()[:, None]) for name, one in encoded.items()
        }

    def embed(self, name: str, one: Encoded) -> Tensor:
        joint_BE = self.heads[name](one.pooled_BD)
        return F.normalize(joint_BE if joint_BE.dtype is torch.float64 else joint_BE.float(), dim=-1)

    def global_loss(self, rows: dict[str, Rows]) -> dict[str, Loss]:
        present = [(a, b) for a, b in self.pairs if a in rows and b in rows]
        losses = {f"match.{a}-{b}": self.contrast(rows[a], rows[b]) for a, b in present}
        return {term: loss for term, loss in losses.items() if loss.weight}

    def contrast(self, a: Rows, b: Rows) -> Loss:
        """Of the samples that have both; a sample may have one modality only."""
        a_of, b_of = ({int(i): n for n, i in enumerate(rows.ids_RI[:, 0])} for rows in (a, b))
        both = sorted(a_of.keys() & b_of.keys())
        a_RE, b_RE = a.vectors_RE[[a_of[i] for i in both]], b.vectors_RE[[b_of[i] for i in both]]
        logits_RR = self.scale * a_RE @ b_RE.T
        own_R = torch.arange(len(both), device=logits_RR.device)
        total = F.cross_entropy(logits_RR, own_R, reduction="sum") if both else logits_RR.sum()
        return Loss(total, float(len(both)))


def build(config: Any, context: BuildContext) -> Match:
    """The objective on every pair of modalities that occurs.

    Raises:
        ConfigError: no two modalities occur together.
    """
    if not any(len(names) > 1 for names in context.combinations):
        raise ConfigError("objectives.match needs a source with two modalities")
    return Match(config, context)
