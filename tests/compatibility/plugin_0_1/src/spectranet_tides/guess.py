"""What encoders make of a sample, guessed by the decoder: a query a modality, which reads all of them.

B samples, Q queries (one a modality), D width.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Batch, BuildContext, Encoded, Loss, Queries, init_linear
from spectranet_tides.options import GuessOptions


class Guess(nn.Module):
    def __init__(self, context: BuildContext) -> None:
        super().__init__()
        self.names = tuple(sorted(context.encoder_widths))
        self.terms = tuple(f"guess.{name}" for name in self.names)
        self.asks = nn.ParameterDict({name: nn.Parameter(torch.empty(context.width)) for name in self.names})
        self.answers = nn.ModuleDict(
            {name: nn.Linear(context.width, width) for name, width in sorted(context.encoder_widths.items())}
        )

    def init_weights(self) -> None:
        init_linear(self)
        for name in self.names:
            nn.init.normal_(self.asks[name])

    def weights(self, batch: Batch) -> dict[str, float]:
        return {f"guess.{name}": float(len(batch)) for name in self._present(batch)}

    def queries(self, batch: Batch, encoded: Mapping[str, Encoded]) -> Queries | None:
        present = self._present(batch)
        if not present:
            return None
        asks_QD = torch.stack([self.asks[name] for name in present])
        return Queries(
            group="guess",
            tokens_BQD=asks_QD.expand(len(batch), -1, -1),
            valid_BQ=torch.ones(len(batch), len(present), dtype=torch.bool, device=asks_QD.device),
            reads=present,
        )

    def loss(
        self, states_BQD: Tensor | None, encoded: Mapping[str, Encoded], batch: Batch
    ) -> dict[str, Loss]:
        if states_BQD is None:
            return {}
        losses = {}
        for place, name in enumerate(self._present(batch)):
            target_BD = F.layer_norm(
                encoded[name].pooled_BD.detach().float(), encoded[name].pooled_BD.shape[1:]
            )
            error_BD = self.answers[name](states_BQD[:, place]).float() - target_BD
            spread = float(target_BD.std(dim=0, correction=0).mean())
            losses[f"guess.{name}"] = Loss(
                error_BD.square().mean(-1).sum(), float(len(batch)), {"spread": spread}
            )
        return losses

    def _present(self, batch: Batch) -> tuple[str, ...]:
        return tuple(name for name in self.names if name in batch.modalities)


def build(config: GuessOptions, context: BuildContext) -> Guess:
    return Guess(context)
