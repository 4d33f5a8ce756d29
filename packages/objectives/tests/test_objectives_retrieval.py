"""Retrieval figures against rankings done by hand and by brute force."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hand_made import make_batch, make_modality
from torch import Tensor

from spectranet import Batch, ConfigError, Rows
from spectranet_objectives.config import RetrievalConfig
from spectranet_objectives.retrieval import chance_of_hit, evaluate, rank_direction


class FakeModel:
    """Embeds each sample with the vector that a table gives for its content."""

    def __init__(self, vectors: dict[str, dict[int, Tensor]]) -> None:
        self.vectors = vectors
        self.objectives = {"contrastive": None}

    def embed(self, objective: str, batch: Batch) -> dict[str, Rows]:
        assert objective == "contrastive"
        rows = {}
        for name, m in batch.modalities.items():
            vectors = torch.stack([self.vectors[name][int(c)] for c in m.content_B])
            rows[name] = Rows(vectors, torch.stack([batch.ids_B, m.content_B], dim=1))
        return rows


class FakeData:
    """One source, ``audio`` and ``text`` contents of each sample, two samples a batch."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        self.pairs = pairs

    def names(self) -> tuple[str, ...]:
        return ("digits",)

    def batches(self, name: str) -> Iterator[Batch]:
        for start in range(0, len(self.pairs), 2):
            some = self.pairs[start : start + 2]
            modalities = {"audio": make_modality([2] * len(some)), "text": make_modality([2] * len(some))}
            modalities["audio"].content_B = torch.tensor([a for a, _ in some])
            modalities["text"].content_B = torch.tensor([t for _, t in some])
            batch = make_batch(modalities)  # sample ids start at 0 in every batch
            batch.keys = tuple(f"clip-{start + i}" for i in range(len(some)))
            yield batch


WORDS = {100: torch.tensor([1.0, 0, 0]), 200: torch.tensor([0, 1.0, 0]), 300: torch.tensor([0, 0, 1.0])}
CLIPS = {
    1: torch.tensor([0.9, 0.1, 0.0]),  # one, heard as one
    2: torch.tensor([0.4, 0.8, 0.0]),  # one, heard as two; one is second
    3: torch.tensor([0.0, 0.9, 0.2]),  # two, heard as two
    4: torch.tensor([0.5, 0.3, 0.2]),  # three, comes last
}
PAIRS = [(1, 100), (2, 100), (3, 200), (4, 300)]


def test_equal_texts_are_one_candidate_and_any_partner_is_right() -> None:
    figures = evaluate(
        FakeModel({"audio": CLIPS, "text": WORDS}), FakeData(PAIRS), RetrievalConfig(ks=[1, 2])
    )
    speech = {k.removeprefix("digits/audio-text/"): v for k, v in figures.items() if "audio-text" in k}
    assert speech == {
        "R@1": 2 / 4,
        "R@2": 3 / 4,
        "chance": pytest.approx(1 / 3),
        "chance@2": pytest.approx(2 / 3),
        "median_rank": 1.5,
        "candidates": 3,
        "queries": 4,
    }
    words = {k.removeprefix("digits/text-audio/"): v for k, v in figures.items() if "text-audio" in k}
    # "one" finds clip 1 first, "two" clip 3; "three" ties at 0.2 between clips 3 and 4, which counts against
    assert words["R@1"] == pytest.approx(2 / 3) and words["R@2"] == 1
    assert words["queries"] == 3 and words["candidates"] == 4
    # two of four clips say "one"
    assert words["chance"] == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)


def test_ranks_equal_a_brute_force_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectranet_objectives.retrieval._QUERIES_AT_ONCE", 7)
    rng = torch.Generator().manual_seed(0)
    samples = torch.randperm(50, generator=rng)
    a_content, b_content = (torch.randint(0, n, (50,), generator=rng) for n in (30, 12))
    a_table, b_table = torch.randn(30, 4, generator=rng), torch.randn(12, 4, generator=rng)
    a = Rows(a_table[a_content], torch.stack([torch.arange(50), a_content], 1))
    b = Rows(b_table[b_content][samples], torch.stack([torch.arange(50), b_content], 1)[samples])
    found = rank_direction(a, b, [str(n) for n in range(50)])

    gallery = set(b_content.tolist())
    expected = []
    for query in dict.fromkeys(a_content.tolist()):
        partners = {int(b_content[n]) for n in range(50) if a_content[n] == query}
        order = sorted(gallery, key=lambda c: -float(a_table[query] @ b_table[c]))
        expected.append(min(order.index(p) for p in partners) + 1)
    assert found.rank_Q.tolist() == expected
    assert found.candidates == len(gallery)


def test_chance_is_the_share_of_draws_that_hit() -> None:
    for right, candidates, k in [(1, 6, 1), (2, 6, 3), (4, 6, 3), (6, 6, 1), (1, 3, 5)]:
        draws = list(combinations(range(candidates), min(k, candidates)))
        hits = sum(any(c < right for c in draw) for draw in draws)
        assert chance_of_hit(right, candidates, k) == pytest.approx(hits / len(draws))


@pytest.mark.parametrize("value", [1.0, math.nan])
def test_a_collapsed_or_broken_model_finds_nothing(value: float) -> None:
    same = torch.full((3,), value)
    model = FakeModel({"audio": dict.fromkeys(CLIPS, same), "text": dict.fromkeys(WORDS, same)})
    figures = evaluate(model, FakeData(PAIRS), RetrievalConfig(ks=[1]))
    assert figures["digits/audio-text/R@1"] == 0 == figures["digits/text-audio/R@1"]


def test_a_smaller_gallery_leaves_out_the_queries_it_cannot_answer() -> None:
    model = FakeModel({"audio": CLIPS, "text": WORDS})
    figures = evaluate(model, FakeData(PAIRS), RetrievalConfig(ks=[1], max_candidates=2))
    assert figures["digits/audio-text/candidates"] == 2
    assert figures["digits/audio-text/queries"] == 3
    assert figures["digits/audio-text/R@1"] == pytest.approx(2 / 3)


def test_examples_are_written_with_their_ranking(tmp_path: Path) -> None:
    path = tmp_path / "new" / "retrieval.json"
    config = RetrievalConfig(save_examples=2, examples_path=str(path))
    evaluate(FakeModel({"audio": CLIPS, "text": WORDS}), FakeData(PAIRS), config)
    shown = json.loads(path.read_text())["digits/audio-text"]
    assert [one["query"] for one in shown] == ["clip-0", "clip-1"]
    assert [c["key"] for c in shown[1]["ranked"]] == ["clip-2", "clip-0", "clip-3"]
    assert [c["right"] for c in shown[1]["ranked"]] == [False, True, False]


def test_a_model_without_contrast_is_an_error_that_says_what_to_do() -> None:
    model = FakeModel({})
    model.objectives = {"mmm": None}
    with pytest.raises(ConfigError, match=r"lacks[\s\S]*objectives\.contrastive"):
        evaluate(model, FakeData(PAIRS), RetrievalConfig())


class OfSamples(FakeModel):
    """An objective of somebody else, whose identities are (sample,)."""

    objective, again = "mine", 1

    def embed(self, objective: str, batch: Batch) -> dict[str, Rows]:
        assert objective == self.objective
        rows = super().embed("contrastive", batch)
        return {
            name: Rows(one.vectors_RE.repeat(self.again, 1), one.ids_RI[:, :1].repeat(self.again, 1))
            for name, one in rows.items()
        }


def test_another_objective_may_be_compared_whose_samples_are_each_an_item() -> None:
    model = OfSamples({"audio": CLIPS, "text": WORDS})
    model.objectives = {"mine": None}
    figures = evaluate(model, FakeData(PAIRS), RetrievalConfig(objective="mine"))
    assert figures["digits/audio-text/candidates"] == len(PAIRS)

    with pytest.raises(ConfigError, match=r"'contrastive', which this model lacks"):
        evaluate(model, FakeData(PAIRS), RetrievalConfig())


def test_several_rows_of_a_sample_are_no_gallery() -> None:
    model = OfSamples({"audio": CLIPS, "text": WORDS})
    model.objectives, model.again = {"mine": None}, 2
    with pytest.raises(ConfigError, match="'mine' has several rows of one"):
        evaluate(model, FakeData(PAIRS), RetrievalConfig(objective="mine"))


def test_samples_without_a_partner_are_left_out() -> None:
    one = Rows(torch.eye(2), torch.tensor([[0, 10], [1, 11]]))
    other = Rows(torch.eye(2), torch.tensor([[5, 20], [6, 21]]))
    assert rank_direction(one, other, ["k"] * 7) is None
