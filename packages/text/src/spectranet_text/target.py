"""What masked modelling predicts of a text: the ids of the hidden tokens.

Shape suffixes: B samples, H hidden tokens, R all of them in a row, D width, V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Loss, ModalityBatch, chunked_cross_entropy, gather_tokens, init_linear
from spectranet_text.options import TextConfig, vocab_size

_IGNORED = -1  # a negative target counts nothing in chunked_cross_entropy


class TextHead(nn.Module):
    """BERT's masked-language head (Devlin et al. 2019): linear, GELU, norm, then the vocabulary."""

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.vocabulary = nn.Linear(width, vocab_size)

    def forward(self, states_BHD: Tensor, batch: ModalityBatch) -> Loss:
        """Cross-entropy over the valid hidden tokens; the (B, H, V) logits are never held."""
        hidden_BHD = self.norm(F.gelu(self.transform(states_BHD)))
        targets_BH = gather_tokens(batch.data["ids"], batch.hidden_BH)
        targets_BH = targets_BH.masked_fill(~batch.hidden_valid_BH, _IGNORED)
        total = chunked_cross_entropy(
            hidden_BHD.flatten(0, 1),
            self.vocabulary.weight,
            targets_BH.flatten(),
            bias_V=self.vocabulary.bias,
        )
        return Loss(sum=total, weight=batch.hidden_valid_BH.sum())

    def flops(self, hidden: int) -> int:
        """Forward, of so many hidden tokens."""
        width = self.vocabulary.in_features
        return 2 * hidden * width * (width + self.vocabulary.out_features)

    def init_weights(self) -> None:
        init_linear(self)


def build_target_head(config: TextConfig, width: int) -> TextHead:
    """The head on decoder states of ``width``."""
    return TextHead(vocab_size(config), width)
