"""Captions are predicted from what comes before and from other modalities, and from nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hand_made import (
    VOCABULARY,
    WIDTH,
    divided,
    encode,
    initialised,
    make_batch,
    make_context,
    make_modality,
)

from spectranet import Batch, ConfigError
from spectranet_objectives.captioning import Captioning
from spectranet_objectives.config import CaptioningConfig

ALL = ("audio", "text", "video")
TERM = "captioning.text"


def make(**options: object) -> Captioning:
    return initialised(Captioning(CaptioningConfig(**options), make_context(ALL)))


def test_query_t_is_token_t_at_place_t(av_batch: Batch) -> None:
    objective = make()
    queries = objective.queries(av_batch, encode(av_batch))
    assert queries.tokens_BQD.shape == (4, 4, WIDTH)
    assert queries.causal and queries.sees == () and queries.reads == ("audio", "video")
    assert queries.valid_BQ.sum(1).tolist() == [4, 2, 3, 4]
    half = WIDTH // 2
    wave = 3 / 10_000 ** (torch.arange(half) / half)
    token = av_batch.modalities["text"].data["ids"][2, 3]
    expected = objective.embedding_VD[token] * WIDTH**0.5 + torch.cat([wave.sin(), wave.cos()])
    torch.testing.assert_close(queries.tokens_BQD[2, 3], expected)


@pytest.mark.parametrize("tie", [True, False])
def test_the_loss_is_cross_entropy_of_the_next_token(av_batch: Batch, tie: bool) -> None:
    objective = make(tie=tie)
    states = torch.randn(4, 4, WIDTH)
    table = objective.embedding_VD if tie else objective.output_VD
    ids = av_batch.modalities["text"].data["ids"]
    expected, count = 0.0, 0
    for sample, length in enumerate([5, 3, 4, 5]):
        for t in range(length - 1):
            log_p = F.log_softmax(states[sample, t].double() @ table.double().T, dim=-1)
            expected, count = expected - log_p[ids[sample, t + 1]], count + 1
    loss = objective.loss(states, encode(av_batch), av_batch)[TERM]
    torch.testing.assert_close(loss.sum.double(), expected, rtol=1e-5, atol=1e-5)
    assert loss.weight == count == objective.weights(av_batch)[TERM]


def test_hidden_tokens_are_written_all_the_same(av_batch: Batch) -> None:
    """Masks belong to the encoder's view of the text, which the caption never reads."""
    text = av_batch.modalities["text"]
    unmasked = make_modality([5, 3, 4, 5], seed=3)
    assert torch.equal(unmasked.data["ids"], text.data["ids"])
    bare = make_batch({**av_batch.modalities, "text": unmasked})
    objective = make()
    torch.testing.assert_close(
        objective.queries(av_batch, {}).tokens_BQD, objective.queries(bare, {}).tokens_BQD
    )


def test_the_token_limit_cuts_queries_and_weight(av_batch: Batch) -> None:
    objective = make(max_tokens=2)
    assert objective.queries(av_batch, {}).tokens_BQD.shape[1] == 2
    assert objective.weights(av_batch) == {TERM: 8.0}


@pytest.mark.parametrize("names", [("text",), ("audio", "video")])
def test_absent_without_text_or_with_nothing_else(av_batch: Batch, names: tuple[str, ...]) -> None:
    batch = make_batch({name: av_batch.modalities[name] for name in names})
    objective = make()
    assert objective.queries(batch, {}) is None
    assert objective.weights(batch) == {} == objective.loss(None, {}, batch)


def test_a_text_of_one_token_asks_nothing(av_batch: Batch) -> None:
    batch = make_batch({"audio": make_modality([4, 4]), "text": make_modality([1, 1])})
    assert make().queries(batch, {}) is None


def test_a_run_without_text_is_an_error_that_names_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'text', which no training source has; they have audio, video"):
        Captioning(CaptioningConfig(), make_context(("audio", "video")))


def test_a_modality_without_vocabulary_is_an_error_that_names_those_with_one() -> None:
    with pytest.raises(ConfigError, match=r"'video'.*no vocabulary[\s\S]*text"):
        Captioning(CaptioningConfig(modality="video"), make_context(ALL))


def test_it_starts_near_a_blind_guess_and_ten_steps_reduce_it(av_batch: Batch) -> None:
    objective = make()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    history = []
    for _ in range(10):
        states = torch.tanh(objective.queries(av_batch, {}).tokens_BQD).roll(1, dims=-1)
        loss = divided([objective.loss(states, {}, av_batch)])[TERM]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[0] == pytest.approx(torch.tensor(VOCABULARY).log().item(), abs=1.0)
    assert history[-1] < 0.8 * history[0]
