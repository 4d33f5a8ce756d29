"""BERT over a text in which hidden tokens are replaced by the mask's embedding.

Shape suffixes: B samples, N tokens of a text, V visible tokens, H hidden tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertLayer

from spectranet import ConfigError, Encoded, ModalityBatch, gather_tokens, init_transformers
from spectranet_text.options import TextConfig, pretrained_problems, vocab_size
from spectranet_text.tokenizer import PAD


class TextEncoder(nn.Module):
    """The visible tokens of a text, each having seen the other visible ones.

    The whole sequence is encoded, for BERT needs to know where something is missing; the tokens at
    hidden places are then left out, so that the decoder cannot read their position's state.
    """

    def __init__(self, config: TextConfig, trunk: None = None) -> None:
        super().__init__()
        self.width = config.width
        self.mask_id = config.mask_id
        self.pool = config.pool
        self.pretrained = config.pretrained
        self.bert = BertModel(_bert_config(config), add_pooling_layer=False)

    def forward(self, batch: ModalityBatch, trunk: None = None) -> Encoded:
        ids_BN = batch.data["ids"].masked_fill(_hidden_mask(batch), self.mask_id)
        # Parts instead of BertModel.forward: that one reads the mask's values to see whether it could
        # do without, which makes a GPU wait and cannot be planned without data.
        tokens_BND = self.bert.embeddings(input_ids=ids_BN)
        attends_B11N = batch.valid_BN[:, None, None, :]
        tokens_BND = self.bert.encoder(tokens_BND, attention_mask=attends_B11N).last_hidden_state
        visible_BVD = gather_tokens(tokens_BND, batch.visible_BV)
        return Encoded(
            tokens_BND=visible_BVD,
            valid_BN=batch.visible_valid_BV,
            position_BNP=gather_tokens(batch.position_BNP, batch.visible_BV),
            segment_BN=gather_tokens(batch.segment_BN, batch.visible_BV),
            pooled_BD=self._pooled(visible_BVD, batch.visible_valid_BV),
        )

    def _pooled(self, visible_BVD: Tensor, valid_BV: Tensor) -> Tensor:
        """One vector a text: the mean of its visible tokens, or the first, which is never hidden."""
        if self.pool == "first":
            return visible_BVD[:, 0]
        weight_BV1 = valid_BV.unsqueeze(-1).float()
        mean_BD = (visible_BVD.float() * weight_BV1).sum(1) / weight_BV1.sum(1).clamp_min(1)
        return mean_BD.to(visible_BVD.dtype)

    def init_weights(self) -> None:
        init_transformers(self.bert)
        if self.pretrained:
            _load_pretrained(self.bert, self.pretrained)


def shard_units() -> tuple[type[nn.Module], ...]:
    """A block is a unit; the embeddings stay with the root, since ``forward`` calls them by part."""
    return (BertLayer,)


def forward_flops(config: TextConfig, tokens: int, visible: int, trunk: None = None) -> int:
    """Matrix products of one text of ``tokens`` tokens; hidden tokens cost as much as visible ones."""
    projections = 4 * config.width**2 + 2 * config.width * config.mlp_hidden
    attention = 2 * tokens * config.width
    return config.layers * 2 * tokens * (projections + attention)


def _hidden_mask(batch: ModalityBatch) -> Tensor:
    """(B, N) bool from the index lists; counted, because padded rows repeat index 0."""
    count_BN = torch.zeros_like(batch.valid_BN, dtype=torch.int32)
    return count_BN.scatter_add(1, batch.hidden_BH, batch.hidden_valid_BH.int()) > 0


def _bert_config(config: TextConfig) -> BertConfig:
    """The library's configuration, without dropout.

    Raises:
        ConfigError: the pretrained folder does not fit the options.
    """
    fixed: dict[str, Any] = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": "sdpa",
        "is_decoder": False,
    }
    size = vocab_size(config)
    if config.pretrained:
        if found := list(pretrained_problems(config, size)):
            raise ConfigError("\n".join(found))
        return BertConfig.from_pretrained(config.pretrained, local_files_only=True, **fixed)
    return BertConfig(
        vocab_size=size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp_hidden,
        max_position_embeddings=config.max_tokens,
        type_vocab_size=1,
        pad_token_id=PAD,
        **fixed,
    )


def _load_pretrained(bert: BertModel, folder: str) -> None:
    """Copy the weights in ``folder``, read by the library, which knows the older names on disk.

    Raises:
        ConfigError: the folder lacks weights.
    """
    with torch.device("cpu"):
        # With output_loading_info it returns a pair, which its annotation does not say.
        pair: Any = BertModel.from_pretrained(
            folder,
            local_files_only=True,
            add_pooling_layer=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    loaded, report = pair
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"]))
        raise ConfigError(f"modalities.text.pretrained: '{folder}' lacks the weights {missing}.")
    bert.load_state_dict(loaded.state_dict())
