"""How much arithmetic does the model owe to the tokens of a micro-batch, padding and recomputation left out?

A multiplication and an addition count as two, matrix products and convolutions only, as torch's counter
does. A backward is twice its forward. Recomputed activations and the first pass of an exact contrast are
not counted: they are how it is computed, not what. Nor are similarities between the samples of a batch,
which grow with its square and are a thousandth of a step at 32,768 rows.

Shape suffixes: B samples, Q queries, M memory tokens, G query groups, S spans of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spectranet.config.schema import Config, DecoderConfig
from spectranet.contracts import Batch, Modality, Queries
from spectranet.model.decoder import Memory
from spectranet.model.spectranet import SpectraNet

__all__ = ["FORWARD_AND_BACKWARD", "EncoderFlops", "decoder_flops", "head_flops"]

FORWARD_AND_BACKWARD = 3
"""A product's backward is two of its size: one for its inputs, one for its weights."""


class EncoderFlops:
    """Of samples' forward, as their modality declares it; asked once for each size that occurs."""

    def __init__(self, config: Config, modalities: Mapping[str, Modality]) -> None:
        self._config, self._modalities = config, modalities
        self._known: dict[tuple[str, int, int], float] = {}

    def __call__(self, name: str, tokens: Sequence[int], visible: Sequence[int]) -> float:
        """Summed over samples of modality ``name`` with these numbers of tokens."""
        known, total = self._known, 0.0
        for size in zip(tokens, visible, strict=True):
            key = (name, *size)
            if key not in known:
                modality = self._modalities[name]
                trunk = self._config.trunks[modality.trunk.name] if modality.trunk else None
                known[key] = float(modality.flops(self._config.modalities[name], *size, trunk))
            total += known[key]
        return total


def decoder_flops(
    config: DecoderConfig, encoder_widths: Mapping[str, int], groups: Sequence[Queries], memory: Memory
) -> Tensor:
    """Forward, from encoder tokens to states: fp64 (), on the groups' device, nothing is waited for.

    Of the attention, the pairs that a group's ``sees`` and ``reads`` allow; causal ones in full, as is the
    custom (Chowdhery et al. 2022, "PaLM", appendix B).
    """
    device = memory.valid_BM.device

    def there(numbers: Sequence[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64).to(device, non_blocking=True)

    queries_GB = torch.stack([group.valid_BQ.sum(1) for group in groups]).double()
    memory_SB = torch.stack([memory.valid_BM[:, a:b].sum(1) for a, b in memory.spans.values()]).double()
    names = [group.group for group in groups]
    sees_GG = [[float(n == g.group or n in g.sees) for n in names] for g in groups]
    reads_GS = [[float(span == "" or span in g.reads) for span in memory.spans] for g in groups]
    seen_GB = there(sees_GG) @ queries_GB
    read_GB = there(reads_GS) @ memory_SB
    width, hidden = config.width, config.mlp_hidden
    mlp = 2 * width * hidden * (3 if config.mlp == "swiglu" else 2)
    a_query = 12 * width**2 + mlp  # query, key, value, output; query and output across; MLP
    a_memory_token = 4 * width**2  # key and value
    pairs = 4 * width * ((seen_GB + read_GB) * queries_GB).sum()
    blocks = config.layers * (a_query * queries_GB.sum() + a_memory_token * memory_SB.sum() + pairs)
    projected = [2.0 * width * encoder_widths.get(span, 0) for span in memory.spans]
    return blocks + memory_SB.sum(1) @ there(projected)


def head_flops(model: SpectraNet, batch: Batch) -> float:
    """Forward, of the objectives that declare it."""
    heads = (o for o in model.objectives.values() if hasattr(o, "flops"))
    return float(sum(objective.flops(batch) for objective in heads))  # type: ignore[operator]
