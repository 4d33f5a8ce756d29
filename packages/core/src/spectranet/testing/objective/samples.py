"""What does the kit show to an objective? Modalities of its own, batches, and what encoders might give.

No plugin is needed for it. All is drawn from seeds, so that every rank makes the same.

Shape suffixes as in ``spectranet.contracts``; F features of a token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from spectranet.contracts import Batch, BuildContext, Encoded, Loss, ModalityBatch
from spectranet.model.functional import gather_tokens

__all__ = [
    "FEATURES",
    "LENGTHS",
    "WIDTH",
    "Shown",
    "SquaredErrorHead",
    "ToyModality",
    "at_least_fp32",
    "encode",
    "make_batch",
    "make_context",
    "take",
    "with_modalities",
]

WIDTH = 16
"""Of the decoder."""

FEATURES = 3
SEGMENT_TOKENS = 2
LENGTHS = (8, 5, 7, 3)
"""Tokens of the samples, in turn; each modality begins at another place, so that all are ragged."""


@dataclass(frozen=True)
class ToyModality:
    """A modality that the kit makes up to show to an objective.

    Args:
        name: what the objective finds it under.
        width: of its encodings.
        temporal: whether its tokens have time segments, of two tokens each.
        vocabulary: how many ids, where it is made of discrete ones (``data["ids"]``); 0: it is not.
        axes: coordinates of a position.
        data: ``(tokens, generator) -> {name: tensor}``: what the objective reads of a sample's ``data``
            beside ``x``, float (tokens, 3), and ``ids``; first dimensions of ``tokens`` are padded.
    """

    name: str
    width: int = 10
    temporal: bool = False
    vocabulary: int = 0
    axes: int = 1
    data: Callable[[int, torch.Generator], Mapping[str, Tensor]] | None = None


@dataclass(frozen=True)
class Shown:
    """A micro-batch, and what the encoders gave for it."""

    batch: Batch
    encoded: dict[str, Encoded]

    def leaves(self) -> dict[str, Tensor]:
        """What the encoders gave, to differentiate at, by name."""
        return {
            f"{kind} of {name}": tensor
            for name, one in self.encoded.items()
            for kind, tensor in (("tokens", one.tokens_BND), ("pooled", one.pooled_BD))
        }


class SquaredErrorHead(nn.Module):
    """A target head as modalities bring them: squared error against ``data["x"]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, FEATURES)

    def init_weights(self) -> None:
        nn.init.normal_(self.predict.weight, std=0.1)
        nn.init.zeros_(self.predict.bias)

    def flops(self, hidden: int) -> int:
        return 2 * hidden * self.predict.in_features * FEATURES

    def forward(self, states_BHD: Tensor, inputs: ModalityBatch) -> Loss:
        target_BHF = gather_tokens(inputs.data["x"], inputs.hidden_BH)
        answer_BHF = at_least_fp32(self.predict(states_BHD))
        error_BH = (answer_BHF - target_BHF.to(answer_BHF.dtype)).square().mean(-1)
        valid_BH = inputs.hidden_valid_BH
        return Loss(error_BH.masked_fill(~valid_BH, 0).sum(), float(inputs.host.hidden_valid_BH.sum()))


def make_context(
    modalities: Sequence[ToyModality], build_target_head: Callable[[str], nn.Module] | None = None
) -> BuildContext:
    """Of a run with these modalities, in whose sources every set of them occurs."""
    names = [one.name for one in modalities]
    sets = [frozenset(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]
    return BuildContext(
        width=WIDTH,
        encoder_widths={one.name: one.width for one in modalities},
        temporal=tuple(one.name for one in modalities if one.temporal),
        vocab_sizes={one.name: one.vocabulary for one in modalities if one.vocabulary},
        build_target_head=build_target_head or (lambda name: SquaredErrorHead(WIDTH)),
        combinations=tuple(sorted(sets, key=sorted)),
    )


def make_batch(
    modalities: Sequence[ToyModality],
    samples: int = 4,
    *,
    seed: int = 0,
    lengths: Sequence[int] = LENGTHS,
    hidden: str = "some",
    padding: int = 0,
) -> Batch:
    """Samples of all modalities, ragged.

    Args:
        lengths: tokens of the samples, in turn.
        hidden: ``some`` (one or more of each sample that has two), ``none`` or ``all``.
        padding: further tokens at the end of each row that no sample has.
    """
    made = {
        one.name: _make_modality(one, place, samples, seed, lengths, hidden, padding)
        for place, one in enumerate(modalities)
    }
    return Batch(
        keys=tuple(f"sample-{i}" for i in range(samples)),
        source="kit",
        ids_B=torch.arange(samples) * 3 + 5,
        modalities=dict(sorted(made.items())),
    )


def encode(
    modalities: Sequence[ToyModality], batch: Batch, *, seed: int = 1, dtype: torch.dtype = torch.float32
) -> Shown:
    """What encoders might give: random tokens at the visible places and a random summary, as leaves."""
    rng = torch.Generator().manual_seed(seed)
    widths = {one.name: one.width for one in modalities}

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()

    encoded = {}
    for name, one in batch.modalities.items():
        encoded[name] = Encoded(
            tokens_BND=draw(*one.visible_BV.shape, widths[name]),
            valid_BN=one.visible_valid_BV,
            position_BNP=gather_tokens(one.position_BNP, one.visible_BV),
            segment_BN=one.segment_BN.gather(1, one.visible_BV).masked_fill(~one.visible_valid_BV, -1),
            pooled_BD=draw(len(batch), widths[name]),
        )
    return Shown(batch, encoded)


def take(shown: Shown, rows: Sequence[int]) -> Shown:
    """Some samples, in this order, as a micro-batch of their own; gradients reach where they are from."""
    index = torch.tensor(rows)

    def of(value: Any) -> Any:
        return (
            {name: each[index] for name, each in value.items()} if isinstance(value, dict) else value[index]
        )

    def chosen(one: Any) -> Any:
        fields = (field.name for field in dataclasses.fields(one))
        return type(one)(**{name: of(getattr(one, name)) for name in fields})

    batch = Batch(
        tuple(shown.batch.keys[row] for row in rows),
        shown.batch.source,
        shown.batch.ids_B[index],
        {name: chosen(one) for name, one in shown.batch.modalities.items()},
    )
    return Shown(batch, {name: chosen(one) for name, one in shown.encoded.items()})


def with_modalities(shown: Shown, names: Sequence[str]) -> Shown:
    """The same samples with only these modalities."""
    some = {name: one for name, one in shown.batch.modalities.items() if name in names}
    batch = dataclasses.replace(shown.batch, modalities=some)
    return Shown(batch, {name: shown.encoded[name] for name in some})


def at_least_fp32(tensor: Tensor) -> Tensor:
    """In fp32, or in float64 where it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _make_modality(
    one: ToyModality,
    place: int,
    samples: int,
    seed: int,
    lengths: Sequence[int],
    hidden: str,
    padding: int,
) -> ModalityBatch:
    longest = max(lengths) + padding
    sizes = [lengths[(i + place) % len(lengths)] for i in range(samples)]
    data: dict[str, list[Tensor]] = {}
    contents, hides = [], []
    for i, size in enumerate(sizes):
        rng = torch.Generator().manual_seed((seed * 1009 + i) * 31 + place)
        contents.append(int(torch.randint(1 << 60, (1,), generator=rng)))
        hides.append(_hidden_places(size, i + place, hidden))
        for name, tensor in _sample_data(one, size, rng).items():
            data.setdefault(name, []).append(_padded(tensor, size, longest))
    visible = [[n for n in range(size) if n not in hide] for size, hide in zip(sizes, hides, strict=True)]
    visible_BV, visible_valid_BV = _index(visible, padding)
    hidden_BH, hidden_valid_BH = _index(hides, padding if hidden != "none" else 0)
    place_BN = torch.arange(longest).expand(samples, -1)
    valid_BN = place_BN < torch.tensor(sizes)[:, None]
    segment_BN = (place_BN // SEGMENT_TOKENS).masked_fill(~valid_BN, -1)
    axes = [place_BN // 3**axis % 3 for axis in range(one.axes)] if one.axes > 1 else [place_BN]
    return ModalityBatch(
        data={name: torch.stack(each) for name, each in data.items()},
        position_BNP=torch.stack(axes, dim=-1).masked_fill(~valid_BN[..., None], 0),
        segment_BN=segment_BN if one.temporal else torch.full_like(segment_BN, -1),
        valid_BN=valid_BN,
        visible_BV=visible_BV,
        visible_valid_BV=visible_valid_BV,
        hidden_BH=hidden_BH,
        hidden_valid_BH=hidden_valid_BH,
        content_B=torch.tensor(contents),
    )


def _sample_data(one: ToyModality, size: int, rng: torch.Generator) -> dict[str, Tensor]:
    data = {"x": torch.randn(size, FEATURES, generator=rng)}
    if one.vocabulary:
        data["ids"] = torch.randint(1, one.vocabulary, (size,), generator=rng)
    return data | dict(one.data(size, rng) if one.data else {})


def _hidden_places(size: int, shift: int, hidden: str) -> list[int]:
    if hidden != "some":
        return [*range(size)] if hidden == "all" else []
    chosen = [n for n in range(size) if (n + shift) % 4 == 1] or [size - 1]
    return chosen if size > 1 else []


def _padded(tensor: Tensor, size: int, longest: int) -> Tensor:
    if tensor.ndim == 0 or len(tensor) != size:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(longest - size, *tensor.shape[1:])])


def _index(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Places and whether they count; rows that are shorter repeat place 0, as the core's do."""
    longest = max(map(len, rows)) + padding
    index = torch.zeros(len(rows), longest, dtype=torch.int64)
    valid = torch.zeros(len(rows), longest, dtype=torch.bool)
    for n, row in enumerate(rows):
        index[n, : len(row)] = torch.tensor(row, dtype=torch.int64)
        valid[n, : len(row)] = True
    return index, valid
