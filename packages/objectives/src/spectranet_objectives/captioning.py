"""Captioning: each token of a text from the tokens before it and from the other modalities.

The queries are the text itself, shifted: query t carries token t and place t, sees queries up to t,
reads the memory of the other modalities, and predicts token t+1. The text's own memory, made by an
encoder that looks both ways, is never read.

Shape suffixes: B samples, N tokens of the text, Q = N-1 queries, D decoder width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spectranet import (
    Batch,
    BuildContext,
    ConfigError,
    Encoded,
    Loss,
    Queries,
    chunked_cross_entropy,
    select_tokens,
    sincos_position,
)
from spectranet_objectives.check import nothing_to_write
from spectranet_objectives.config import CaptioningConfig

__all__ = ["Captioning", "build"]


class Captioning(nn.Module):
    """Term ``captioning.<modality>``, averaged over valid target tokens.

    The table is initialised with variance 1/D and multiplied by sqrt(D) where it is an input, so
    that one table gives tokens the size of the position code and logits of unit variance (Vaswani
    et al. 2017, section 3.4).

    Raises:
        ConfigError: the run lacks the modality, or it is not made of discrete ids.
    """

    def __init__(self, config: CaptioningConfig, context: BuildContext) -> None:
        super().__init__()
        self.modality = config.modality
        self.max_tokens = config.max_tokens
        self.width = context.width
        self.term = f"captioning.{self.modality}"
        self.terms = (self.term,)
        if self.modality not in context.encoder_widths:
            raise ConfigError(nothing_to_write(self.modality, context.encoder_widths))
        if self.modality not in context.vocab_sizes:
            discrete = ", ".join(sorted(context.vocab_sizes)) or "none"
            raise ConfigError(
                f"objectives.captioning.modality is '{self.modality}', which has no vocabulary to write"
                f" in.\n  modalities with one: {discrete}"
            )
        shape = (context.vocab_sizes[self.modality], context.width)
        self.embedding_VD = nn.Parameter(torch.empty(shape))
        self.output_VD: nn.Parameter | None = None if config.tie else nn.Parameter(torch.empty(shape))

    def init_weights(self) -> None:
        for table_VD in self.parameters():
            nn.init.normal_(table_VD, std=self.width**-0.5)

    def weights(self, batch: Batch) -> dict[str, float]:
        if not self._applies(batch):
            return {}
        return {self.term: float((self._targets(batch) >= 0).sum())}

    def flops(self, batch: Batch) -> int:
        """Logits over the vocabulary, forward."""
        if not self._applies(batch):
            return 0
        return 2 * int((self._targets(batch) >= 0).sum()) * self.embedding_VD.shape[0] * self.width

    def queries(self, batch: Batch, encoded: Mapping[str, Encoded]) -> Queries | None:
        if not self._applies(batch):
            return None
        targets_BQ = self._targets(batch)
        ids_BQ = batch.modalities[self.modality].data["ids"][:, : targets_BQ.shape[1]]
        tokens_BQD = nn.functional.embedding(ids_BQ, self.embedding_VD) * self.width**0.5
        place_1QP = torch.arange(ids_BQ.shape[1], device=ids_BQ.device).reshape(1, -1, 1)
        return Queries(
            group="captioning",
            tokens_BQD=tokens_BQD + sincos_position(place_1QP, self.width).to(tokens_BQD.dtype),
            valid_BQ=targets_BQ >= 0,
            reads=tuple(name for name in batch.modalities if name != self.modality),
            causal=True,
        )

    def loss(
        self, states_BQD: Tensor | None, encoded: Mapping[str, Encoded], batch: Batch
    ) -> dict[str, Loss]:
        if states_BQD is None or not self._applies(batch):
            return {}
        asked_BQ = self._targets(batch.host) >= 0
        targets_R = select_tokens(self._targets(batch), asked_BQ)
        table_VD = self.embedding_VD if self.output_VD is None else self.output_VD
        loss = chunked_cross_entropy(select_tokens(states_BQD, asked_BQ), table_VD, targets_R)
        return {self.term: Loss(loss, float(len(targets_R)))}

    def _applies(self, batch: Batch) -> bool:
        """Whether there is a text of two tokens or more, and something else to write it from."""
        if self.modality not in batch.modalities or len(batch.modalities) < 2:
            return False
        return batch.modalities[self.modality].data["ids"].shape[1] > 1

    def _targets(self, batch: Batch) -> Tensor:
        """(B, Q) int64: the token after each query, -1 where the text has ended."""
        text = batch.modalities[self.modality]
        last = None if self.max_tokens is None else self.max_tokens + 1
        return text.data["ids"][:, 1:last].masked_fill(~text.valid_BN[:, 1:last], -1)


def build(config: CaptioningConfig, context: BuildContext) -> Captioning:
    return Captioning(config, context)
