"""wav2vec 2.0's seven convolutions, computed channels last.

The library transposes before and after the LayerNorm of every convolution, over sequences of up to
3,200 steps a second. Channels last, no transpose is left and a convolution of stride 2 is one or
two matrix products; on a CPU, forward and backward take about half the time. The weights are the
library's own.

Shape suffixes: B samples, T samples of a waveform, L steps of a layer, C channels, N frames.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet_audio.frames import HOP, STRIDES, WINDOW

__all__ = ["convolve", "silence_hidden"]


def convolve(conv_layers: Iterable[nn.Module], waveform_BT: Tensor) -> Tensor:
    """Features (B, N, C) of transformers' ``Wav2Vec2LayerNormConvLayer`` stack.

    The library's loop would also ask for the gradient at the waveform, which nobody uses.
    """
    first, *others = conv_layers
    windows = waveform_BT.unfold(1, first.conv.kernel_size[0], STRIDES[0])
    hidden_BLC = F.linear(windows, first.conv.weight[:, 0], first.conv.bias)
    hidden_BLC = first.activation(first.layer_norm(hidden_BLC))
    for layer in others:
        hidden_BLC = layer.activation(layer.layer_norm(_halve(layer.conv, hidden_BLC)))
    return hidden_BLC


def _halve(conv: nn.Conv1d, hidden_BLC: Tensor) -> Tensor:
    """A convolution of stride 2 and kernel 2 or 3, as matrix products over pairs of steps."""
    kernel = conv.kernel_size[0]
    batch, steps, channels = hidden_BLC.shape
    steps_out = (steps - kernel) // 2 + 1
    taps = conv.weight.permute(0, 2, 1)  # (out, kernel, in)
    pairs = hidden_BLC[:, : 2 * steps_out].reshape(batch, steps_out, 2 * channels)
    out_BLC = F.linear(pairs, taps[:, :2].flatten(1), conv.bias)
    if kernel == 3:
        out_BLC = out_BLC + F.linear(hidden_BLC[:, 2 : 2 * steps_out + 1 : 2], taps[:, 2])
    return out_BLC


def silence_hidden(waveform_BT: Tensor, hidden_BN: Tensor) -> Tensor:
    """The waveform with zeros at every sample that a hidden frame covers.

    Windows of 400 samples every 320 overlap, so that without this a visible neighbour would show
    up to 40 % of a hidden frame's samples. The visible neighbours lose those samples too.
    """
    samples = waveform_BT.shape[1]
    blocks = -(-samples // HOP)
    block_B1N = F.pad(hidden_BN, (1, max(0, blocks - hidden_BN.shape[1])))[:, : blocks + 1]
    overlap = torch.arange(HOP, device=hidden_BN.device) < WINDOW - HOP
    own, before = block_B1N[:, 1:, None], block_B1N[:, :-1, None]
    covered_BT = (own | (before & overlap)).flatten(1)[:, :samples]
    return waveform_BT.masked_fill(covered_BT, 0.0)
