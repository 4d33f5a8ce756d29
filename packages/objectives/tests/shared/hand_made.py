"""Hand-made batches and encodings, and the way the core divides losses.

Shape suffixes as in ``spectranet.contracts``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from spectranet import Batch, BuildContext, Encoded, Loss, ModalityBatch, Rows, gather_tokens

WIDTH = 12
VOCABULARY = 11
ENCODER_WIDTHS = {"audio": 6, "image": 8, "text": 10, "video": 7}


class VectorHead(nn.Module):
    """A target head as modalities bring them: squared error against ``data["target"]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, 3)

    def init_weights(self) -> None:
        nn.init.normal_(self.predict.weight, std=0.1)
        nn.init.zeros_(self.predict.bias)

    def forward(self, states_BHD: Tensor, modality: ModalityBatch) -> Loss:
        target = gather_tokens(modality.data["target"], modality.hidden_BH)
        error_BH = (self.predict(states_BHD) - target).square().mean(-1)
        valid = modality.hidden_valid_BH
        return Loss(error_BH.masked_fill(~valid, 0).sum(), float(valid.sum()))


def make_context(*combinations: Sequence[str]) -> BuildContext:
    names = sorted({name for c in combinations for name in c})
    return BuildContext(
        width=WIDTH,
        encoder_widths={name: ENCODER_WIDTHS[name] for name in names},
        temporal=tuple(n for n in ("audio", "video") if n in names),
        vocab_sizes={"text": VOCABULARY} if "text" in names else {},
        build_target_head=lambda name: VectorHead(WIDTH),
        combinations=tuple(frozenset(c) for c in combinations),
    )


def make_modality(
    lengths: Sequence[int],
    hidden: Sequence[Sequence[int]] | None = None,
    *,
    segment_tokens: int = 0,
    seed: int = 0,
) -> ModalityBatch:
    """Samples of ``lengths`` tokens, of which those listed in ``hidden`` are hidden.

    Args:
        segment_tokens: tokens of a time segment; 0 for a modality without time.
    """
    rng = torch.Generator().manual_seed(seed)
    count, longest = len(lengths), max(lengths)
    place_BN = torch.arange(longest).expand(count, -1)
    valid_BN = place_BN < torch.tensor(lengths)[:, None]
    hidden = hidden or [[] for _ in lengths]
    visible = [[n for n in range(length) if n not in h] for length, h in zip(lengths, hidden, strict=True)]
    visible_BV, visible_valid_BV = pad(visible)
    hidden_BH, hidden_valid_BH = pad(hidden)
    segment_BN = place_BN // segment_tokens if segment_tokens else torch.full_like(place_BN, -1)
    return ModalityBatch(
        data={
            "ids": torch.randint(1, VOCABULARY, (count, longest), generator=rng),
            "target": torch.randn(count, longest, 3, generator=rng),
        },
        position_BNP=place_BN.unsqueeze(-1),
        segment_BN=segment_BN.masked_fill(~valid_BN, -1),
        valid_BN=valid_BN,
        visible_BV=visible_BV,
        visible_valid_BV=visible_valid_BV,
        hidden_BH=hidden_BH,
        hidden_valid_BH=hidden_valid_BH,
        content_B=torch.randint(1 << 60, (count,), generator=rng),
    )


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    longest = max(len(row) for row in rows)
    index = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.int64)
    valid = torch.tensor([[n < len(row) for n in range(longest)] for row in rows], dtype=torch.bool)
    return index.reshape(len(rows), longest), valid.reshape(len(rows), longest)


def make_batch(modalities: Mapping[str, ModalityBatch], first_id: int = 0) -> Batch:
    count = len(next(iter(modalities.values())).content_B)
    return Batch(
        keys=tuple(f"sample-{first_id + i}" for i in range(count)),
        source="test",
        ids_B=torch.arange(first_id, first_id + count),
        modalities=dict(sorted(modalities.items())),
    )


def encode(batch: Batch, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Encoded]:
    """What encoders might give: random tokens at the visible places, their mean as the summary."""
    rng = torch.Generator().manual_seed(seed)
    encoded = {}
    for name, m in batch.modalities.items():
        shape = (*m.visible_BV.shape, ENCODER_WIDTHS[name])
        tokens_BVD = torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
        encoded[name] = Encoded(
            tokens_BND=tokens_BVD,
            valid_BN=m.visible_valid_BV,
            position_BNP=gather_tokens(m.position_BNP, m.visible_BV),
            segment_BN=m.segment_BN.gather(1, m.visible_BV).masked_fill(~m.visible_valid_BV, -1),
            pooled_BD=tokens_BVD.mean(1),
        )
    return encoded


def take(
    batch: Batch, encoded: Mapping[str, Encoded], rows: Sequence[int]
) -> tuple[Batch, dict[str, Encoded]]:
    """Some samples of a batch and of its encodings, as a micro-batch of their own."""
    index = torch.tensor(rows)

    def of(item: object, name: str) -> object:
        value = getattr(item, name)
        return {k: v[index] for k, v in value.items()} if isinstance(value, dict) else value[index]

    modalities = {
        name: ModalityBatch(**{f.name: of(m, f.name) for f in dataclasses.fields(m)})
        for name, m in batch.modalities.items()
    }
    some = Batch(tuple(batch.keys[r] for r in rows), batch.source, batch.ids_B[index], modalities)
    return some, {
        name: Encoded(**{f.name: of(e, f.name) for f in dataclasses.fields(e)}) for name, e in encoded.items()
    }


def divided(losses: Sequence[dict[str, Loss]]) -> dict[str, Tensor]:
    """The losses of several micro-batches as the core divides them: summed sums over summed weights."""
    terms = sorted({term for one in losses for term in one})
    found = {term: [one[term] for one in losses if term in one] for term in terms}
    return {t: sum(loss.sum for loss in of) / sum(loss.weight for loss in of) for t, of in found.items()}


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter's gradient, zero where there is none; the gradients are cleared."""
    result = {}
    for name, parameter in module.named_parameters():
        grad = parameter.grad
        result[name] = torch.zeros_like(parameter) if grad is None else grad.clone()
    module.zero_grad()
    return result


def initialised(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        module.init_weights()
    return module


def clips_with_captions() -> Batch:
    """Four clips with sound and caption, of unequal lengths, some tokens hidden, some clips short."""
    return make_batch(
        {
            "video": make_modality([8, 6, 8, 2], [[0, 1], [2], [5, 7], []], segment_tokens=2, seed=1),
            "audio": make_modality([9, 9, 5, 3], [[4], [], [0], [1]], segment_tokens=3, seed=2),
            "text": make_modality([5, 3, 4, 5], [[1, 2], [1], [], [4]], seed=3),
        }
    )


def two_passes(
    objective: nn.Module, parts: Sequence[tuple[Batch, dict[str, Encoded]]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses and gradients of an objective over the global batch, as the core takes them.

    Pass 1 embeds every micro-batch without gradient and differentiates the loss at the rows; pass 2
    embeds each again and descends <row, gradient>. Returns the losses by term and the gradients.
    """
    with torch.no_grad():
        embedded = [objective.embeddings(encoded, batch) for batch, encoded in parts]
    names = sorted({name for rows in embedded for name in rows})
    leaves = {}
    for name in names:
        rows = [one[name] for one in embedded if name in one]
        vectors_RE = torch.cat([r.vectors_RE for r in rows]).requires_grad_()
        leaves[name] = Rows(vectors_RE, torch.cat([r.ids_RI for r in rows]))
    losses = divided([objective.global_loss(leaves)])
    sum(losses.values()).backward()
    start = dict.fromkeys(names, 0)
    for batch, encoded in parts:
        for name, rows in objective.embeddings(encoded, batch).items():
            end = start[name] + len(rows.vectors_RE)
            (rows.vectors_RE * leaves[name].vectors_RE.grad[start[name] : end]).sum().backward()
            start[name] = end
    return {term: loss.detach() for term, loss in losses.items()}, gradients(objective)


def one_pass(
    objective: nn.Module, batch: Batch, encoded: dict[str, Encoded]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same of the whole batch at once, by plain differentiation."""
    losses = divided([objective.global_loss(objective.embeddings(encoded, batch))])
    sum(losses.values()).backward()
    return {term: loss.detach() for term, loss in losses.items()}, gradients(objective)
