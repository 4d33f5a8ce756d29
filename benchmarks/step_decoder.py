"""A decoder over queries against one over all tokens, at 15 % masking.

The other is the cheaper of the two that one could compare with: self-attention among all tokens and an
MLP, of the same width and depth, without cross-attention. Ours carries the caption's queries on top of
the mask tokens; ``step.query_vs_full_decoder_masked_only`` leaves them out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from interleaved import figure, measure, table
from torch import Tensor, nn

from spectranet.config.schema import DecoderConfig
from spectranet.contracts import Queries
from spectranet.model.decoder import MLP, CrossModalDecoder, Memory, SelfAttention, make_norm

__all__ = ["compare_decoders"]


class FullDecoder(nn.Module):
    """A decoder over all tokens: every token attends to every other in every layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([make_norm(config), SelfAttention(config), make_norm(config), MLP(config)])
            for _ in range(config.layers)
        )

    def forward(self, x_BND: Tensor, may_see: Tensor) -> Tensor:
        for norm, attention, mlp_norm, mlp in self.layers:  # type: ignore[misc]
            x_BND = x_BND + attention(norm(x_BND), may_see)
            x_BND = x_BND + mlp(mlp_norm(x_BND))
        return x_BND


def compare_decoders(samples: int, budget_s: float) -> None:
    """Images of 196 patches and captions of 32 tokens, decoder of width 512."""
    config = DecoderConfig(width=512, layers=4, heads=8, mlp_hidden=1376)
    image, text = 196, 32
    hidden = round(0.15 * (image + text))
    ours, full = CrossModalDecoder(config), FullDecoder(config)
    visible = image + text - hidden
    memory = Memory(
        torch.randn(samples, 1 + visible, config.width, requires_grad=True),
        torch.ones(samples, 1 + visible, dtype=torch.bool),
        {"": (0, 1), "image": (1, image - 29 + 1), "text": (image - 29 + 1, 1 + visible)},
    )

    def queries(group: str, count: int, causal: bool, reads: tuple[str, ...]) -> Queries:
        tokens = torch.randn(samples, count, config.width, requires_grad=True)
        return Queries(group, tokens, torch.ones(samples, count, dtype=torch.bool), reads, causal=causal)

    masked = queries("mmm", hidden, False, ("image", "text"))
    caption = queries("captioning", text - 1, True, ("image",))
    all_tokens = torch.randn(samples, image + text, config.width, requires_grad=True)
    everything = torch.ones(samples, 1, image + text, image + text, dtype=torch.bool)

    def backward(states: Sequence[Tensor]) -> None:
        sum(s.square().mean() for s in states).backward()  # type: ignore[union-attr]

    timings = measure(
        {
            "queries: masked + caption": lambda: backward(ours([masked, caption], memory)),
            "queries: masked only": lambda: backward(ours([masked], memory)),
            "all tokens": lambda: backward([full(all_tokens, everything)]),
        },
        rounds=30,
        budget_s=budget_s,
    )
    table("Decoder, forward and backward, 15 % masked", timings)
    full_time = timings["all tokens"]
    figure("step.query_vs_full_decoder", timings["queries: masked + caption"].ratio_to(full_time), "x")
    masked_only = timings["queries: masked only"].ratio_to(full_time)
    figure("step.query_vs_full_decoder_masked_only", masked_only, "x")
