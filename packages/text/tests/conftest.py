"""Views of texts as the core's data path would hand them to the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from spectranet import ModalityBatch
from spectranet_text.options import TextConfig
from spectranet_text.training import train_tokenizer

CORPUS = [
    f"{article} {colour} {shape} {motion}"
    for article in ("a", "the", "one")
    for colour in ("red", "green", "blue", "purple", "orange", "white")
    for shape in ("circle", "square", "triangle", "hexagon", "ring")
    for motion in ("moves left", "moves right", "falls", "rises slowly")
]

# Words in varying company, without which there are not enough pieces to learn.
CORPUS += """
a dog sleeps near an old wooden door
the black cat watches seven small birds from a window
children play football on the beach in summer
two men repair a bicycle beside the river
a bowl of fresh fruit stands on a kitchen table
snow covers the mountains behind the village church
the orchestra plays while people dance outside
a woman reads the morning newspaper in a crowded train
heavy rain floods the narrow streets after midnight
an airplane lands between green hills and a frozen lake
""".strip().splitlines()


def small_config(**options: object) -> TextConfig:
    return TextConfig(**{"width": 32, "layers": 2, "heads": 4, "mlp_hidden": 48, "max_tokens": 24} | options)


def _index(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, K) indices, padded with 0, and which of them are valid."""
    longest = max(map(len, rows))
    index_BK = torch.zeros(len(rows), longest, dtype=torch.int64)
    valid_BK = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, indices in enumerate(rows):
        index_BK[row, : len(indices)] = torch.tensor(list(indices), dtype=torch.int64)
        valid_BK[row, : len(indices)] = True
    return index_BK, valid_BK


def make_view(
    ids: Sequence[Sequence[int]], hidden: Sequence[Sequence[int]] | None = None, length: int | None = None
) -> ModalityBatch:
    """A batch of id sequences, padded to ``length``, with the tokens at ``hidden`` hidden."""
    hidden = hidden or [[] for _ in ids]
    length = length or max(map(len, ids))
    ids_BN, valid_BN = _index([*ids, range(length)])
    ids_BN, valid_BN = ids_BN[:-1], valid_BN[:-1]
    visible_BV, visible_valid_BV = _index(
        [[i for i in range(len(row)) if i not in set(gone)] for row, gone in zip(ids, hidden, strict=True)]
    )
    hidden_BH, hidden_valid_BH = _index(hidden)
    position_BNP = torch.arange(length).expand(len(ids), -1).unsqueeze(-1) * valid_BN.unsqueeze(-1)
    return ModalityBatch(
        data={"ids": ids_BN},
        position_BNP=position_BNP,
        segment_BN=torch.full_like(ids_BN, -1),
        valid_BN=valid_BN,
        visible_BV=visible_BV,
        visible_valid_BV=visible_valid_BV,
        hidden_BH=hidden_BH,
        hidden_valid_BH=hidden_valid_BH,
        content_B=torch.zeros(len(ids), dtype=torch.int64),
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def view() -> Callable[..., ModalityBatch]:
    return make_view


@pytest.fixture
def config() -> Callable[..., TextConfig]:
    return small_config


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return CORPUS


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 350 pieces trained on the small corpus."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(CORPUS, path, vocab_size=350)
    return path
