"""Temporal coherence: from a segment of a clip, the next one is found among all that are not near.

A segment is the mean of its visible tokens, projected and normalised to z_t. Anchor z_t, positive
z_{t+1} of the same clip; negatives: segments of the same clip at distance ``margin`` or more from
the anchor, and every segment of the other clips. Nearer segments count as neither.

Shape suffixes: B samples, V visible tokens, S segments of a sample, R segments of the global batch,
D encoder width, E width of the projection, I columns of an identity: (sample, segment).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import (
    Batch,
    BuildContext,
    Encoded,
    Loss,
    ModalityBatch,
    Rows,
    gather_tokens,
    init_linear,
    select_tokens,
)
from spectranet_objectives.config import TemporalConfig
from spectranet_objectives.spread import spread
from spectranet_objectives.streaming import at_least_fp32, reduce_rows

__all__ = ["Temporal", "build", "next_segment_loss", "pool_segments", "seen_segments"]


class Temporal(nn.Module):
    """Terms ``temporal.<modality>`` and ``temporal_variance.<modality>``.

    The first is InfoNCE averaged over anchors. The second guards against collapse: the mean over the
    dimensions of ``max(0, floor - std)``, with the std over all segments of the step of vectors of
    length sqrt(E), so that 1 is the spread of an even sphere (the hinge of Bardes et al. 2022,
    "VICReg", equation 1, on normalised vectors). It is weighted by its number of segments and has
    ``variance_weight`` as a factor.
    """

    def __init__(self, config: TemporalConfig, context: BuildContext) -> None:
        super().__init__()
        self.config = config
        names = sorted(set(context.temporal) & set(context.encoder_widths))
        self.terms = tuple(f"temporal.{name}" for name in names)
        if config.variance_weight:
            self.terms += tuple(f"temporal_variance.{name}" for name in names)
        self.encoder_widths = dict(context.encoder_widths)
        self.heads = nn.ModuleDict(
            {m: nn.Linear(context.encoder_widths[m], config.width, bias=False) for m in names}
        )

    def init_weights(self) -> None:
        for name, head in self.heads.items():
            init_linear(head, std=self.encoder_widths[name] ** -0.5)

    def embeddings(self, encoded: Mapping[str, Encoded], batch: Batch) -> dict[str, Rows]:
        """A row a segment that has visible tokens, of length one; identities (sample, segment)."""
        rows = {}
        for name, head in self.heads.items():
            if name in encoded:
                seen_BS = seen_segments(batch.host.modalities[name])
                mean_BSD = pool_segments(encoded[name], seen_BS.shape[1])
                z_RE = F.normalize(at_least_fp32(head(select_tokens(mean_BSD, seen_BS))), dim=-1, eps=1e-6)
                sample_R, segment_R = seen_BS.nonzero(as_tuple=True)
                rows[name] = Rows(z_RE, torch.stack([batch.host.ids_B[sample_R], segment_R], dim=1))
        return rows

    def global_loss(self, rows: Mapping[str, Rows]) -> dict[str, Loss]:
        losses = {}
        for name in self.heads:
            if name not in rows or len(rows[name].vectors_RE) < 2:
                continue
            z_RE, ids_RI = rows[name].vectors_RE, rows[name].host.ids_RI
            std_E = spread(z_RE)
            metrics: dict[str, float | Tensor] = {"std": std_E.detach().mean()}
            loss, anchors, right = next_segment_loss(
                z_RE, ids_RI, self.config.margin, self.config.temperature
            )
            if anchors:
                losses[f"temporal.{name}"] = Loss(loss, float(anchors), {**metrics, "R@1": right / anchors})
            if self.config.variance_weight:
                hinge = (self.config.variance_floor - std_E).clamp_min(0).mean()
                losses[f"temporal_variance.{name}"] = Loss(
                    self.config.variance_weight * len(z_RE) * hinge, float(len(z_RE)), metrics
                )
        return losses


def seen_segments(batch: ModalityBatch) -> Tensor:
    """Which segments have visible tokens, bool (B, S)."""
    segment_BV = gather_tokens(batch.segment_BN, batch.visible_BV).masked_fill(~batch.visible_valid_BV, -1)
    segments = int(segment_BV.max()) + 1 if segment_BV.numel() else 0
    seen_BS = torch.zeros(len(segment_BV), 1 + segments, dtype=torch.bool)  # the first: of none
    return seen_BS.scatter_(1, segment_BV + 1, True)[:, 1:]


def pool_segments(encoded: Encoded, segments: int) -> Tensor:
    """Mean visible token of each segment, (B, S, D); zero where there is none.

    Summed in fp32 at least, returned in the tokens' dtype. Tokens of segment -1 belong to none.
    """
    tokens_BVD = at_least_fp32(encoded.tokens_BND)
    counted_BV = encoded.valid_BN & (encoded.segment_BN >= 0)
    index_BV = encoded.segment_BN.long().clamp(0, max(0, segments - 1))
    count_BS = tokens_BVD.new_zeros(len(tokens_BVD), segments)
    sum_BSD = torch.zeros_like(count_BS).unsqueeze(-1).repeat(1, 1, tokens_BVD.shape[-1])
    if segments:
        count_BS.scatter_add_(1, index_BV, counted_BV.to(tokens_BVD.dtype))
        # invalid tokens may hold anything: replaced, not multiplied by zero
        counted_BVD = tokens_BVD.masked_fill(~counted_BV.unsqueeze(-1), 0)
        sum_BSD.scatter_add_(1, index_BV.unsqueeze(-1).expand_as(counted_BVD), counted_BVD)
    mean_BSD = sum_BSD / count_BS.clamp_min(1).unsqueeze(-1)
    return mean_BSD.to(encoded.tokens_BND.dtype)


def next_segment_loss(
    z_RE: Tensor, ids_RI: Tensor, margin: int, temperature: float
) -> tuple[Tensor, int, Tensor]:
    """InfoNCE of every segment whose successor is there: (sum, anchors, anchors that find it first).

    Who is whose successor is found on the host, where the ids are.
    """
    _, sample_R = ids_RI[:, 0].unique(return_inverse=True)
    segment_R = ids_RI[:, 1]
    # a stride one more than the segments, so that a clip's last is not followed by the next clip's first
    place_R, order_R = (sample_R * (segment_R.max() + 2) + segment_R).sort()
    sample_R, segment_R = sample_R[order_R], segment_R[order_R]
    anchor_A = (place_R[1:] == place_R[:-1] + 1).nonzero().squeeze(1)
    if len(anchor_A) == 0:
        return z_RE.sum() * 0, 0, z_RE.new_zeros(())
    positive_A = anchor_A + 1
    # a positive is the column of its row's number; then come the segments that are nobody's positive
    other = torch.ones_like(sample_R, dtype=torch.bool)
    other[positive_A] = False
    column_C = torch.cat([positive_A, other.nonzero().squeeze(1)])

    def on_device(index: Tensor) -> Tensor:
        return index.to(z_RE.device, non_blocking=True)

    # sample, segment, and which column is the positive
    anchor_A3 = on_device(torch.stack([sample_R[anchor_A], segment_R[anchor_A], positive_A], dim=1))
    column_C3 = on_device(torch.stack([sample_R[column_C], segment_R[column_C], column_C], dim=1))

    def keep(rows: slice, columns: slice) -> Tensor:
        anchor, column = anchor_A3[rows, None], column_C3[columns]
        kept: Tensor = anchor[..., 0] != column[..., 0]
        kept |= (anchor[..., 1] - column[..., 1]).abs() >= margin
        kept |= anchor[..., 2] == column[..., 2]
        return kept

    anchor_AE = z_RE.index_select(0, on_device(order_R[anchor_A]))
    column_CE = z_RE.index_select(0, on_device(order_R[column_C]))
    scale_1 = z_RE.new_full((1,), 1 / temperature)
    found = reduce_rows(anchor_AE, column_CE, scale_1, keep)
    return (found.lse_R - found.positive_R).sum(), len(anchor_A), found.right_R.sum()


def build(config: TemporalConfig, context: BuildContext) -> Temporal:
    return Temporal(config, context)
