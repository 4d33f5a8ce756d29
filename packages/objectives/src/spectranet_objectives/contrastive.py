"""Contrast: corresponding samples of any two modalities are found among all samples of the step.

The heads stand on the encoders, before anything is fused (Yu et al. 2022, "CoCa"), so that each
modality has an embedding of its own, which retrieval uses.

Shape suffixes: B samples of a micro-batch, R samples of the global batch, D encoder width, E joint
width, I columns of an identity: (sample, hash of the content).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Batch, BuildContext, Encoded, Loss, Rows, init_linear
from spectranet_objectives.config import ContrastiveConfig
from spectranet_objectives.spread import spread
from spectranet_objectives.streaming import Keep, at_least_fp32, reduce_both_ways, sigmoid_pair_loss

__all__ = ["Contrastive", "LogitBias", "LogitScale", "build", "info_nce", "matched"]

_DEFAULT_SCALE = {"infonce": 1 / 0.07, "sigmoid": 10.0}
"""Radford et al. 2021, section 2.5; Zhai et al. 2023, section 3.2."""


class LogitScale(nn.Module):
    """A learned positive factor of the logits: one element, since FSDP2 refuses 0-D parameters."""

    full_precision = True

    def __init__(self, start: float, most: float) -> None:
        super().__init__()
        self.start, self.most = start, most
        self.log_scale_1 = nn.Parameter(torch.empty(1))

    def forward(self) -> Tensor:
        return self.log_scale_1.exp()

    def init_weights(self) -> None:
        nn.init.constant_(self.log_scale_1, math.log(self.start))

    @torch.no_grad()
    def clamp(self) -> None:
        self.log_scale_1.clamp_(max=math.log(self.most))


class LogitBias(nn.Module):
    """A learned offset of the logits of the sigmoid loss."""

    full_precision = True

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start
        self.bias_1 = nn.Parameter(torch.empty(1))

    def forward(self) -> Tensor:
        return self.bias_1.clone()  # FSDP frees a gathered parameter when forward returns

    def init_weights(self) -> None:
        nn.init.constant_(self.bias_1, self.start)


class Contrastive(nn.Module):
    """Terms ``contrastive.<a>-<b>``, a before b, averaged over the samples that have both.

    The metrics of a term: ``R@1`` within the batch (mean of both directions; of a to b alone for the
    sigmoid loss), ``scale``, and ``std_<modality>``: 1 where the embeddings fill the sphere evenly,
    0 where they have collapsed.
    """

    def __init__(self, config: ContrastiveConfig, context: BuildContext) -> None:
        super().__init__()
        known = set(context.encoder_widths)
        pairs = {pair for c in context.combinations for pair in combinations(sorted(c & known), 2)}
        self.pairs = tuple(sorted(pairs))
        self.terms = tuple(f"contrastive.{a}-{b}" for a, b in self.pairs)
        self.ignores_same_content = config.same_content == "ignore"
        paired = sorted({name for pair in self.pairs for name in pair})
        self.encoder_widths = dict(context.encoder_widths)
        self.heads = nn.ModuleDict(
            {m: nn.Linear(context.encoder_widths[m], config.width, bias=False) for m in paired}
        )
        self.scale = LogitScale(config.scale_init or _DEFAULT_SCALE[config.loss], config.scale_max)
        self.bias = LogitBias(config.bias_init) if config.loss == "sigmoid" else None

    def init_weights(self) -> None:
        for name, head in self.heads.items():
            init_linear(head, std=self.encoder_widths[name] ** -0.5)
        self.scale.init_weights()
        if self.bias is not None:
            self.bias.init_weights()

    def after_step(self) -> None:
        self.scale.clamp()

    def embeddings(self, encoded: Mapping[str, Encoded], batch: Batch) -> dict[str, Rows]:
        """A row a sample for every modality, of length one, in fp32; identities (sample, content)."""
        rows = {}
        for name, head in self.heads.items():
            if name in encoded:
                vectors_BE = F.normalize(at_least_fp32(head(encoded[name].pooled_BD)), dim=-1, eps=1e-6)
                ids_BI = torch.stack([batch.host.ids_B, batch.host.modalities[name].content_B], dim=1)
                rows[name] = Rows(vectors_BE, ids_BI)
        return rows

    def flops(self, batch: Batch) -> int:
        """Of the heads, forward; not of the similarities, which belong to no sample."""
        present = [head for name, head in self.heads.items() if name in batch.modalities]
        return sum(2 * len(batch) * head.in_features * head.out_features for head in present)  # type: ignore[operator]

    def global_loss(self, rows: Mapping[str, Rows]) -> dict[str, Loss]:
        scale_1 = self.scale()
        bias_1 = None if self.bias is None else self.bias()
        losses = {}
        for a, b in self.pairs:
            if a not in rows or b not in rows:
                continue
            index_a_R, index_b_R = matched(rows[a].host.ids_RI[:, 0], rows[b].host.ids_RI[:, 0])
            if len(index_a_R) == 0:
                continue
            a_RE, content_a_R = _pick(rows[a], index_a_R)
            b_RE, content_b_R = _pick(rows[b], index_b_R)
            keep = _distinct(content_a_R, content_b_R) if self.ignores_same_content else None
            if bias_1 is None:
                loss, recall = info_nce(a_RE, b_RE, scale_1, keep)
            else:
                loss, right_R = sigmoid_pair_loss(a_RE, b_RE, scale_1, bias_1, keep)
                recall = right_R.float().mean()
            metrics = {
                "R@1": recall,
                "scale": scale_1.detach().squeeze(),
                f"std_{a}": spread(a_RE.detach()).mean(),
                f"std_{b}": spread(b_RE.detach()).mean(),
            }
            losses[f"contrastive.{a}-{b}"] = Loss(loss, float(len(a_RE)), metrics)
        return losses


def info_nce(a_RE: Tensor, b_RE: Tensor, scale_1: Tensor, keep: Keep | None = None) -> tuple[Tensor, Tensor]:
    """Symmetric InfoNCE, row i of ``a`` belonging to row i of ``b``: (sum over the rows, R@1).

    van den Oord et al. 2018; symmetric as in Radford et al. 2021, figure 3.
    """
    found = reduce_both_ways(a_RE, b_RE, scale_1, keep)
    loss_R = (found.lse_R + found.lse_C) / 2 - found.positive_R
    return loss_R.sum(), torch.cat([found.right_R, found.right_C]).float().mean()


def matched(ids_a_R: Tensor, ids_b_R: Tensor) -> tuple[Tensor, Tensor]:
    """Where the samples that both have stand in either, in the order of their ids, which are on the host.

    The order makes the sums the same however the rows were gathered.
    """
    sorted_a, order_a = ids_a_R.sort()
    sorted_b, order_b = ids_b_R.sort()
    return order_a[torch.isin(sorted_a, sorted_b)], order_b[torch.isin(sorted_b, sorted_a)]


def _pick(rows: Rows, index_R: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors of some rows and the hash of their contents, where the vectors are."""
    device = rows.vectors_RE.device
    picked_RE = rows.vectors_RE.index_select(0, index_R.to(device, non_blocking=True))
    return picked_RE, rows.host.ids_RI[index_R, 1].to(device, non_blocking=True)


def _distinct(content_a_R: Tensor, content_b_R: Tensor) -> Keep:
    """Keeps the positives, and of the others the pairs that differ in both contents.

    Two pictures with one caption are each a right answer to it, so no negative of one another's pair
    in either direction.
    """
    place_R = torch.arange(len(content_a_R), device=content_a_R.device)

    def keep(rows: slice, columns: slice) -> Tensor:
        differs = content_a_R[rows, None] != content_a_R[columns]
        differs &= content_b_R[rows, None] != content_b_R[columns]
        return differs | (place_R[rows, None] == place_R[columns])

    return keep


def build(config: ContrastiveConfig, context: BuildContext) -> Contrastive:
    return Contrastive(config, context)
