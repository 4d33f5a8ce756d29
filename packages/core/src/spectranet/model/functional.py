"""Small functions that the decoder, encoders and objectives share.

Shape suffixes: B samples, N tokens, K gathered tokens, P coordinates, D width, R rows, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["chunked_cross_entropy", "gather_tokens", "sincos_position"]

_LONGEST_WAVE = 10_000.0


def gather_tokens(tokens_BND: Tensor, index_BK: Tensor) -> Tensor:
    """The tokens at ``index_BK`` of each sample: (B, N, …) and (B, K) give (B, K, …)."""
    index = index_BK.reshape(*index_BK.shape, *(1,) * (tokens_BND.ndim - 2))
    return tokens_BND.gather(1, index.expand(-1, -1, *tokens_BND.shape[2:]))


def sincos_position(position_BNP: Tensor, width: int) -> Tensor:
    """Fixed sine and cosine code of integer coordinates: (B, N, P) gives fp32 (B, N, width).

    Each of the P coordinates gets an equal share of the width (rounded down to an even number, the
    rest is zero), with wavelengths from 2 pi to 10,000 times 2 pi (Vaswani et al. 2017, section
    3.5; one share an axis as in He et al. 2022, "Masked Autoencoders", appendix A.1).
    """
    axes = position_BNP.shape[-1]
    half = width // axes // 2
    ramp = torch.arange(half, device=position_BNP.device, dtype=torch.float32) / max(half, 1)
    angle = position_BNP.float().unsqueeze(-1) * _LONGEST_WAVE**-ramp
    code = torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)
    return F.pad(code, (0, width - code.shape[-1]))


def chunked_cross_entropy(
    states_RD: Tensor,
    weight_VD: Tensor,
    targets_R: Tensor,
    *,
    bias_V: Tensor | None = None,
    chunk: int = 1024,
) -> Tensor:
    """Sum over the rows of the cross-entropy of ``states @ weight.T`` against ``targets``, in fp32.

    Logits are made, used and dropped ``chunk`` rows at a time and made again in the backward, so
    that no (R, V) tensor is held. The matrix product runs in the inputs' dtype, the log-sum-exp in
    fp32. Rows whose target is negative count nothing. No rows give a zero that has a gradient.
    """
    if states_RD.shape[0] == 0:
        return (states_RD.sum() + weight_VD.sum() * 0).float()

    def one_chunk(states: Tensor, targets: Tensor) -> Tensor:
        logits = F.linear(states, weight_VD, bias_V).float()
        return F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")

    total = states_RD.new_zeros((), dtype=torch.float32)
    targets_R = targets_R.clamp_min(-1)
    for states, targets in zip(states_RD.split(chunk), targets_R.split(chunk), strict=True):
        if torch.is_grad_enabled() and states_RD.shape[0] > chunk:
            total = total + checkpoint(one_chunk, states, targets, use_reentrant=False)
        else:
            total = total + one_chunk(states, targets)
    return total
