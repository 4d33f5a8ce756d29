"""Modalities of one sample near each other, of others not: InfoNCE over the whole global batch.

R rows, E joint width.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Batch, BuildContext, Loss, Rows, init_linear
from spectranet_tides.options import AlignOptions


class Scale(nn.Module):
    full_precision = True

    def __init__(self) -> None:
        super().__init__()
        self.log_1 = nn.Parameter(torch.empty(1))

    def forward(self) -> Tensor:
        return self.log_1.exp()


class Align(nn.Module):
    def __init__(self, config: AlignOptions, context: BuildContext) -> None:
        super().__init__()
        together = {pair for some in context.combinations for pair in combinations(sorted(some), 2)}
        self.pairs = tuple(sorted(together))
        self.terms = tuple(f"align.{a}-{b}" for a, b in self.pairs)
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(context.encoder_widths[name], config.width)
                for name in sorted({name for pair in self.pairs for name in pair})
            }
        )
        self.scale = Scale()

    def init_weights(self) -> None:
        init_linear(self)
        nn.init.constant_(self.scale.log_1, math.log(10))

    def embeddings(self, encoded, batch: Batch) -> dict[str, Rows]:
        return {
            name: Rows(
                vectors_RE=F.normalize(self.heads[name](some.pooled_BD).float(), dim=-1),
                ids_RI=torch.stack([batch.ids_B, batch.modalities[name].content_B], dim=1),
            )
            for name, some in encoded.items()
            if name in self.heads
        }

    def global_loss(self, rows: dict[str, Rows]) -> dict[str, Loss]:
        losses = {}
        for a, b in self.pairs:
            if a in rows and b in rows:
                loss = self._pair(rows[a], rows[b])
                if loss is not None:
                    losses[f"align.{a}-{b}"] = loss
        return losses

    def _pair(self, a: Rows, b: Rows) -> Loss | None:
        """The rows of a sample are told by its id, and contents that are equal are no negatives."""
        same_RR = a.ids_RI[:, None, 0] == b.ids_RI[None, :, 0]
        like_RR = a.ids_RI[:, None, 1] == a.ids_RI[None, :, 1]
        alike_RR = (like_RR.float() @ same_RR.float() > 0) & ~same_RR
        paired_R = same_RR.any(dim=1)
        if not bool(paired_R.any()):
            return None
        logits_RR = (self.scale() * a.vectors_RE @ b.vectors_RE.T).masked_fill(alike_RR, -1e4)
        loss_R = F.cross_entropy(logits_RR, same_RR.long().argmax(dim=1), reduction="none")
        found = (logits_RR.argmax(dim=1) == same_RR.long().argmax(dim=1)).float().mean()
        return Loss((loss_R * paired_R).sum(), float(paired_R.sum()), {"first": float(found)})

    def after_step(self) -> None:
        self.scale.log_1.clamp_(max=math.log(100))


def build(config: AlignOptions, context: BuildContext) -> Align:
    return Align(config, context)
