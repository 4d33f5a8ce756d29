"""Masked modelling asks the right places, and splits the answers without mixing them."""

from __future__ import annotations

import torch
from hand_made import (
    WIDTH,
    divided,
    encode,
    gradients,
    initialised,
    make_batch,
    make_context,
    make_modality,
)

from spectranet import Batch
from spectranet_objectives.config import MmmConfig
from spectranet_objectives.mmm import Mmm

ALL = ("audio", "text", "video")


def make(**options: object) -> Mmm:
    return initialised(Mmm(MmmConfig(**options), make_context(ALL)))


def states_for(batch: Batch, objective: Mmm) -> torch.Tensor:
    """States that differ at each query: a fixed map of the query itself."""
    return torch.tanh(objective.queries(batch, encode(batch)).tokens_BQD * 1.7)


def test_a_query_is_the_mask_token_plus_the_code_of_the_hidden_place(av_batch: Batch) -> None:
    objective = make()
    queries = objective.queries(av_batch, encode(av_batch))
    # audio: one hidden place a sample at most, text two, video two; in sorted order of the names
    assert queries.tokens_BQD.shape == (4, 1 + 2 + 2, WIDTH)
    assert queries.valid_BQ.tolist()[0] == [True, True, True, True, True]
    assert queries.valid_BQ.tolist()[3] == [True, True, False, False, False]
    assert queries.reads == ALL and not queries.causal and queries.sees == ()
    # sample 2, second video query: place 7, code of one axis by the formula
    half = WIDTH // 2
    wave = 7 / 10_000 ** (torch.arange(half) / half)
    code = torch.cat([wave.sin(), wave.cos()])
    torch.testing.assert_close(queries.tokens_BQD[2, 4], objective.mask_tokens["video"] + code)


def test_the_loss_is_the_modality_head_on_its_own_states(av_batch: Batch) -> None:
    objective = make()
    states = torch.randn(4, 5, WIDTH)
    losses = objective.loss(states, encode(av_batch), av_batch)
    assert set(losses) == {"mmm.audio", "mmm.text", "mmm.video"} == set(objective.terms)
    video = av_batch.modalities["video"]
    expected = 0.0
    for sample, places in enumerate([[0, 1], [2], [5, 7], []]):
        for slot, place in enumerate(places):
            answer = objective.target_heads["video"].predict(states[sample, 3 + slot])
            expected += (answer - video.data["target"][sample, place]).square().mean()
    torch.testing.assert_close(losses["mmm.video"].sum, expected)


def test_the_weights_known_from_data_are_those_of_the_loss(av_batch: Batch) -> None:
    objective = make()
    losses = objective.loss(torch.randn(4, 5, WIDTH), encode(av_batch), av_batch)
    assert objective.weights(av_batch) == {"mmm.audio": 3, "mmm.text": 4, "mmm.video": 5}
    assert {term: loss.weight for term, loss in losses.items()} == objective.weights(av_batch)


def test_nothing_hidden_asks_nothing() -> None:
    batch = make_batch({"audio": make_modality([4, 3]), "text": make_modality([2, 2])})
    objective = make()
    assert objective.queries(batch, encode(batch)) is None
    assert objective.weights(batch) == {}
    assert objective.loss(None, encode(batch), batch) == {}


def test_hidden_tokens_that_are_all_padding_cost_zero_not_nan() -> None:
    modality = make_modality([3, 3], [[1], [2]])
    modality.hidden_valid_BH = torch.zeros_like(modality.hidden_valid_BH)
    batch = make_batch({"audio": modality})
    objective = make()
    loss = objective.loss(states_for(batch, objective), encode(batch), batch)["mmm.audio"]
    loss.sum.backward()
    assert float(loss.sum.detach()) == 0 and loss.weight == 0 == objective.weights(batch)["mmm.audio"]
    assert all(torch.isfinite(g).all() for g in gradients(objective).values())


def test_a_modality_that_is_never_hidden_has_no_head_and_no_term(av_batch: Batch) -> None:
    objective = make(ratios={"text": 0.0})
    assert objective.terms == ("mmm.audio", "mmm.video")
    assert "text" not in objective.target_heads
    assert objective.queries(av_batch, encode(av_batch)).tokens_BQD.shape[1] == 3


def test_a_scale_multiplies_its_term_only(av_batch: Batch) -> None:
    states = torch.randn(4, 5, WIDTH)
    plain = make().loss(states, encode(av_batch), av_batch)
    scaled = make(scales={"text": 0.25}).loss(states, encode(av_batch), av_batch)
    torch.testing.assert_close(scaled["mmm.text"].sum, plain["mmm.text"].sum * 0.25)
    torch.testing.assert_close(scaled["mmm.video"].sum, plain["mmm.video"].sum)


def test_ten_steps_reduce_it(av_batch: Batch) -> None:
    objective = make()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    history = []
    for _ in range(10):
        losses = objective.loss(states_for(av_batch, objective), encode(av_batch), av_batch)
        total = sum(divided([losses]).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(float(total.detach()))
    assert history[-1] < 0.8 * history[0]
