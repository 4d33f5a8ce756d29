"""Our masked modelling and contrast against FLAVA's, as transformers has it (Singh et al. 2022).

Equal towers, equal depth and width of what fuses them, the same share of hidden tokens, the same
optimizer. FLAVA runs its towers twice, on the whole and on the masked sample, and its fusion over all
tokens; ours once, on what is visible, and asks about what is not. FLAVA predicts ids of an image
codebook, which are given to it here: the network that would make them is left out of its time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from interleaved import figure, measure, table
from step_material import CLIP_NORM, TEXT_TOKENS, VOCABULARY, Setting, Trainer, pairs
from torch import Tensor
from transformers import FlavaConfig, FlavaForPreTraining

from spectranet.config.schema import OptimizerConfig
from spectranet.contracts import Batch, ModalityBatch

__all__ = ["compare_with_flava"]

_WIDTH, _HEADS, _MLP = 768, 12, 3072
_MASK_ID = 4
_IGNORED = -100


def compare_with_flava(folder: Path, budget_s: float, layers: int, samples: int) -> None:
    setting = masked_and_contrasted(layers)
    batch = pairs(setting, samples)
    sides = {"ours": Trainer(setting, folder).step([batch]), "FLAVA": flava_step(layers, batch)}
    timings = measure(sides, rounds=60, budget_s=budget_s)
    table(
        f"One step, MMM and contrast, towers of {2 * layers} blocks, {layers} to fuse, {samples} pairs",
        timings,
    )
    figure("step.speed_vs_flava", timings["FLAVA"].ratio_to(timings["ours"]), "x")


def masked_and_contrasted(layers: int) -> Setting:
    """FLAVA's widths, its proportion of blocks (12, 12 and 6), patches of 16 pixels."""
    sizes = f"width: {_WIDTH}, heads: {_HEADS}, mlp_hidden: {_MLP}"
    return Setting.of(
        [],
        [
            "plugins=[vision,text]",
            "data.sources.pairs.modalities=[image,text]",
            "data.sources.pairs.path=unused.jsonl",
            f"trunks.vit={{{sizes}, layers: {2 * layers}}}",
            f"modalities.text={{{sizes}, layers: {2 * layers}, tokenizer: unused.model, "
            f"vocab_size: {VOCABULARY}, max_tokens: {TEXT_TOKENS}, mask_id: {_MASK_ID}}}",
            f"model.decoder={{{sizes}, layers: {layers}, mlp: gelu, norm: layernorm}}",
            f"objectives.contrastive={{width: {_WIDTH}}}",
            "objectives.mmm={ratios: {image: 0.15, text: 0.15}}",
        ],
    )


def flava_step(layers: int, batch: Batch) -> Callable[[], None]:
    torch.manual_seed(0)
    tower = {
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2 * layers,
        "num_attention_heads": _HEADS,
        "intermediate_size": _MLP,
    }
    config = FlavaConfig(
        image_config=tower,
        text_config=tower | {"vocab_size": VOCABULARY, "max_position_embeddings": TEXT_TOKENS},
        multimodal_config=tower | {"num_hidden_layers": layers},
        projection_dim=_WIDTH,
        init_codebook=False,
        itm_weight=0.0,
        global_backprop_contrastive=False,
        skip_unmasked_multimodal_encoder=True,
    )
    model = FlavaForPreTraining(config).train()
    ours = OptimizerConfig()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=ours.lr_peak, betas=(ours.beta1, ours.beta2), fused=True
    )
    inputs = flava_inputs(batch, config.image_config.vocab_size)

    def step() -> None:
        # It writes into the labels.
        given = inputs | {name: inputs[name].clone() for name in ("mim_labels", "mlm_labels")}
        model(**given, return_loss=True).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()

    return step


def flava_inputs(batch: Batch, codes: int) -> dict[str, Tensor]:
    image, text = batch.modalities["image"], batch.modalities["text"]
    ids = text.data["ids"]
    hidden = _hidden(text)
    return {
        "input_ids": ids,
        "input_ids_masked": ids.masked_fill(hidden, _MASK_ID),
        "pixel_values": image.data["pixels"].float() / 127.5 - 1,
        "attention_mask": torch.ones_like(ids),
        "bool_masked_pos": _hidden(image),
        "mlm_labels": ids.masked_fill(~hidden, _IGNORED),
        "mim_labels": torch.randint(codes, image.valid_BN.shape),
    }


def _hidden(modality: ModalityBatch) -> Tensor:
    """bool (B, N)."""
    return torch.ones_like(modality.valid_BN).scatter(1, modality.visible_BV, False)
