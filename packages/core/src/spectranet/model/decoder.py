"""The cross-modal decoder: queries in, memory attended, states out.

The decoder never runs over the encoders' tokens. Whoever wants to know something asks a query: a
masked position, the next caption token, a pooled summary. A block is self-attention among the
queries of a group, cross-attention into the memory (all encoder tokens of the sample), and an MLP.
Groups do not see each other unless they say so, and each says which modalities it may read, so a
caption cannot attend to its own text. The memory's keys and values are computed once per layer for
all groups.

Why queries only: at 15 % masking, a decoder over all tokens spends most of its work on positions
nobody asks about (``benchmarks/step.py`` measures the two side by side).

Shape suffixes: B samples, Q queries, M memory tokens, D width, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet.config.schema import DecoderConfig
from spectranet.contracts import Queries
from spectranet.errors import PluginError

__all__ = ["CrossModalDecoder", "DecoderBlock", "Memory", "attend"]


@dataclass
class Memory:
    """The encoder tokens of all modalities of a sample, in the decoder's width.

    Attributes:
        tokens_BMD: modality after modality.
        valid_BM: bool, False at padding.
        spans: where each modality stands: name -> (start, end) in M. The name "" is the null token,
            which every query may read, so that a query whose modalities are absent or wholly
            hidden still has something to attend to.
    """

    tokens_BMD: Tensor
    valid_BM: Tensor
    spans: dict[str, tuple[int, int]]


class CrossModalDecoder(nn.Module):
    """A stack of blocks over the queries of all groups at once."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.norm = make_norm(config)

    def forward(self, groups: Sequence[Queries], memory: Memory) -> list[Tensor]:
        """Decoder states of each group, (B, Q, D) in the order of ``groups``.

        Raises:
            PluginError: two groups have one name.
        """
        names = [group.group for group in groups]
        if len(set(names)) < len(names):
            raise PluginError(f"two query groups have one name: {', '.join(sorted(names))}")
        x_BQD = torch.cat([group.tokens_BQD for group in groups], dim=1)
        x_BQD = x_BQD.to(memory.tokens_BMD.dtype)
        may_see = self_attention_mask(groups)
        may_read = cross_attention_mask(groups, memory)
        for block in self.blocks:
            x_BQD = block(x_BQD, memory.tokens_BMD, may_see, may_read)
        return list(self.norm(x_BQD).split([group.tokens_BQD.shape[1] for group in groups], dim=1))


class DecoderBlock(nn.Module):
    """x = x + self-attention; x = x + cross-attention; x = x + MLP; pre-norm throughout."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.branches = 3 * config.layers
        self.self_norm, self.self_attention = make_norm(config), SelfAttention(config)
        self.cross_norm, self.cross_attention = make_norm(config), CrossAttention(config)
        self.mlp_norm, self.mlp = make_norm(config), MLP(config)

    def forward(self, x_BQD: Tensor, memory_BMD: Tensor, may_see: Tensor, may_read: Tensor) -> Tensor:
        x_BQD = x_BQD + self.self_attention(self.self_norm(x_BQD), may_see)
        x_BQD = x_BQD + self.cross_attention(self.cross_norm(x_BQD), memory_BMD, may_read)
        return x_BQD + self.mlp(self.mlp_norm(x_BQD))

    def init_weights(self) -> None:
        """N(0, 0.02); projections back into the residual stream scaled by 1/sqrt(branches).

        The scaling of Radford et al. 2019 (GPT-2), section 2.3; three residual branches a block.
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                nn.init.ones_(parameter) if name.endswith("norm.weight") else nn.init.zeros_(parameter)
            else:
                std = 0.02 / self.branches**0.5 if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=std)


class SelfAttention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_BQD: Tensor, may_see: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BQD).chunk(3, dim=-1)
        return self.out(attend(q, k, v, self.heads, may_see))


class CrossAttention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.memory_norm = make_norm(config)
        self.q = nn.Linear(config.width, config.width, bias=False)
        self.kv = nn.Linear(config.width, 2 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_BQD: Tensor, memory_BMD: Tensor, may_read: Tensor) -> Tensor:
        k, v = self.kv(self.memory_norm(memory_BMD)).chunk(2, dim=-1)
        return self.out(attend(self.q(x_BQD), k, v, self.heads, may_read))


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020, "GLU Variants Improve Transformer") or GELU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.up = nn.Linear(config.width, config.mlp_hidden * (2 if self.gated else 1), bias=False)
        self.out = nn.Linear(config.mlp_hidden, config.width, bias=False)

    def forward(self, x_BQD: Tensor) -> Tensor:
        if self.gated:
            gate, value = self.up(x_BQD).chunk(2, dim=-1)
            return self.out(F.silu(gate) * value)
        return self.out(F.gelu(self.up(x_BQD)))


def make_norm(config: DecoderConfig) -> nn.Module:
    if config.norm == "layernorm":
        return nn.LayerNorm(config.width, eps=1e-6)
    return nn.RMSNorm(config.width, eps=1e-6)


def attend(q_BQD: Tensor, k_BMD: Tensor, v_BMD: Tensor, heads: int, allowed: Tensor) -> Tensor:
    """Multi-head attention; ``allowed`` is bool, broadcastable to (B, 1, Q, M)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q_BQD, k_BMD, v_BMD))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(-2)


def self_attention_mask(groups: Sequence[Queries]) -> Tensor:
    """Which query sees which, (B, 1, Q, Q) bool.

    The diagonal is always on: a padded query sees itself, so that no row is empty (a softmax over
    nothing is NaN, and its gradient poisons the batch).
    """
    valid_BQ = torch.cat([group.valid_BQ for group in groups], dim=1)
    device, total = valid_BQ.device, valid_BQ.shape[1]
    spans, start = {}, 0
    for group in groups:
        end = start + group.tokens_BQD.shape[1]
        spans[group.group] = (start, end)
        start = end
    allowed_QQ = torch.zeros(total, total, dtype=torch.bool, device=device)
    for group in groups:
        rows = slice(*spans[group.group])
        own = torch.ones(
            group.tokens_BQD.shape[1], group.tokens_BQD.shape[1], dtype=torch.bool, device=device
        )
        allowed_QQ[rows, rows] = own.tril() if group.causal else own
        for other in set(group.sees) & set(spans):
            allowed_QQ[rows, slice(*spans[other])] = True
    diagonal_QQ = torch.eye(total, dtype=torch.bool, device=device)
    return ((allowed_QQ & valid_BQ[:, None, :]) | diagonal_QQ)[:, None]


def cross_attention_mask(groups: Sequence[Queries], memory: Memory) -> Tensor:
    """Which query reads which memory token, (B, 1, Q, M) bool; the null token is read by all."""
    allowed = []
    for group in groups:
        readable_M = torch.zeros_like(memory.valid_BM[0])
        for name in ("", *group.reads):
            if name in memory.spans:
                readable_M[slice(*memory.spans[name])] = True
        allowed_BM = memory.valid_BM & readable_M
        allowed.append(allowed_BM[:, None, None].expand(-1, -1, group.tokens_BQD.shape[1], -1))
    return torch.cat(allowed, dim=2)
