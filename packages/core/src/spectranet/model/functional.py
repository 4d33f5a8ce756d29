"""Small functions that the decoder, encoders and objectives share.

Shape suffixes: B samples, N tokens, K gathered tokens, R selected tokens of all samples, P coordinates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["gather_tokens", "select_tokens", "sincos_position"]

_LONGEST_WAVE = 10_000.0


def gather_tokens(tokens_BND: Tensor, index_BK: Tensor) -> Tensor:
    """The tokens at ``index_BK`` of each sample: (B, N, …) and (B, K) give (B, K, …)."""
    index = index_BK.reshape(*index_BK.shape, *(1,) * (tokens_BND.ndim - 2))
    return tokens_BND.gather(1, index.expand(-1, -1, *tokens_BND.shape[2:]))


def select_tokens(tokens_BND: Tensor, chosen_BN: Tensor) -> Tensor:
    """The tokens where ``chosen_BN`` is True, sample after sample: (B, N, …) and (B, N) give (R, …).

    The mask is one on the host (``batch.host``): how many there are is known without asking a GPU.
    """
    index_R = chosen_BN.flatten().nonzero().squeeze(1)
    return tokens_BND.flatten(0, 1).index_select(0, index_R.to(tokens_BND.device, non_blocking=True))


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
