"""How many tokens did the steps have, of what modality, and what were they worth?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spectranet.config import Config
from spectranet.contracts import Batch, Modality
from spectranet.train.watch.flops import EncoderFlops

__all__ = ["TokenCount"]

_KINDS = ("tokens", "hidden", "places")
"""Valid tokens; those of them that are hidden; with padding."""


class TokenCount:
    """Of what a step holds, from a micro-batch of each source: the others of the source are taken for alike.

    Counts on the host, where batches are made: nothing is asked of a GPU.
    """

    def __init__(self, config: Config, modalities: Mapping[str, Modality]) -> None:
        self.keys = [(name, kind) for name in modalities for kind in _KINDS]
        self._flops = EncoderFlops(config, modalities)

    def look(self, batch: Batch) -> tuple[list[float], float]:
        """Its counts, as ``keys`` names them, and the encoders' FLOPs for it."""
        counted, flops = dict.fromkeys(self.keys, 0.0), 0.0
        for name, one in batch.modalities.items():
            tokens_B = one.valid_BN.sum(1).tolist()
            hidden_B = one.hidden_valid_BH.sum(1).tolist()
            counted[name, "tokens"] = sum(tokens_B)
            counted[name, "hidden"] = sum(hidden_B)
            counted[name, "places"] = one.valid_BN.numel()
            visible_B = [t - h for t, h in zip(tokens_B, hidden_B, strict=True)]
            flops += self._flops(name, tokens_B, visible_B)
        return [*counted.values()], flops

    def figures(self, sums: Sequence[float], steps: int) -> dict[str, float]:
        """``modality/NAME/…`` of such counts, added over ``steps`` steps and all ranks."""
        counted = dict(zip(self.keys, sums, strict=True))
        names = dict.fromkeys(name for name, _ in self.keys)
        all_tokens, all_places = (sum(counted[n, kind] for n in names) for kind in ("tokens", "places"))
        figures = {"tokens_per_step": all_tokens / steps, "padding_share": _rest(all_tokens, all_places)}
        for name in names:
            tokens, hidden, places = (counted[name, kind] for kind in _KINDS)
            if tokens:
                figures |= {
                    f"modality/{name}/tokens_per_step": tokens / steps,
                    f"modality/{name}/token_share": tokens / all_tokens,
                    f"modality/{name}/hidden_share": hidden / tokens,
                    f"modality/{name}/padding_share": _rest(tokens, places),
                }
        return figures


def _rest(part: float, whole: float) -> float:
    return 1 - part / whole if whole else 0.0
