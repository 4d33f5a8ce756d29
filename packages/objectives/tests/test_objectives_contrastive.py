"""Contrast over the global batch: any cut, any order, any set of modalities."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hand_made import (
    ENCODER_WIDTHS,
    encode,
    initialised,
    make_batch,
    make_context,
    make_modality,
    one_pass,
    take,
    two_passes,
)
from torch import Tensor

from spectranet import Batch, Encoded, Rows
from spectranet_objectives.config import ContrastiveConfig
from spectranet_objectives.contrastive import Contrastive

ALL = ("audio", "text", "video")
BOTH_LOSSES = pytest.mark.parametrize("loss", ["infonce", "sigmoid"])


def make(*combinations: tuple[str, ...], **options: object) -> Contrastive:
    config = ContrastiveConfig(width=16, **options)
    return initialised(Contrastive(config, make_context(*(combinations or (ALL,)))))


def rows_of(vectors_RE: Tensor, samples: list[int], contents: list[int] | None = None) -> Rows:
    return Rows(vectors_RE, torch.tensor([samples, contents or samples]).T)


def unit(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_embeddings_are_unit_rows_with_sample_and_content(av_batch: Batch) -> None:
    rows = make().embeddings(encode(av_batch), av_batch)
    assert set(rows) == set(ALL)
    torch.testing.assert_close(rows["text"].vectors_RE.norm(dim=-1), torch.ones(4))
    assert rows["text"].ids_RI[:, 0].tolist() == av_batch.ids_B.tolist()
    assert rows["text"].ids_RI[:, 1].tolist() == av_batch.modalities["text"].content_B.tolist()


def test_every_pair_of_a_triplet_has_a_term_and_no_other_pair_has() -> None:
    objective = make(("text", "video", "audio"), ("image", "text"))
    assert objective.terms == (
        "contrastive.audio-text",
        "contrastive.audio-video",
        "contrastive.image-text",
        "contrastive.text-video",
    )
    assert list(make(("audio",), ("image",)).heads) == []


def test_the_loss_is_clip_over_the_samples_that_have_both() -> None:
    objective = make(("image", "text"))
    images, texts = unit(5, 1), unit(4, 2)
    loss = objective.global_loss(
        {"image": rows_of(images, [7, 3, 9, 1, 4]), "text": rows_of(texts, [4, 9, 100, 7])}
    )["contrastive.image-text"]
    a, b = images[[4, 0, 2]].double(), texts[[0, 3, 1]].double()  # samples 4, 7, 9
    logits = a @ b.T / 0.07
    right = torch.arange(3)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    assert loss.weight == 3
    torch.testing.assert_close(loss.sum.double() / 3, expected, rtol=1e-5, atol=1e-6)


@BOTH_LOSSES
@pytest.mark.parametrize("cut", [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[3, 1], [0, 2]]])
def test_two_passes_over_any_cut_give_the_gradient_of_the_whole(
    av_batch: Batch, loss: str, cut: list[list[int]]
) -> None:
    objective, encoded = make(loss=loss), encode(av_batch)
    losses, grads = two_passes(objective, [take(av_batch, encoded, rows) for rows in cut])
    whole_losses, whole_grads = one_pass(objective, av_batch, encoded)
    torch.testing.assert_close(losses, whole_losses, rtol=1e-5, atol=1e-6)
    for name, grad in grads.items():
        assert (grad - whole_grads[name]).norm() <= 1e-5 * whole_grads[name].norm(), name


def test_micro_batches_of_different_sources_contrast_what_they_have(av_batch: Batch) -> None:
    pictures = make_batch({"image": make_modality([3, 3]), "text": make_modality([2, 4])}, first_id=10)
    objective = make(ALL, ("image", "text"))
    losses, _ = two_passes(objective, [(av_batch, encode(av_batch)), (pictures, encode(pictures))])
    assert set(losses) == set(objective.terms)


@BOTH_LOSSES
def test_same_content_is_ignored_in_both_directions_if_so_configured(loss: str) -> None:
    """Samples 0 and 2 have one caption: neither picture is a wrong answer to the other's text."""
    images, texts = unit(3, 1).double(), unit(3, 2).double()
    texts[2] = texts[0]
    rows = {"image": rows_of(images, [0, 1, 2]), "text": rows_of(texts, [0, 1, 2], [50, 51, 50])}
    scale, bias = (14.0, 0.0) if loss == "infonce" else (10.0, -10.0)
    logits = scale * images @ texts.T + bias
    dropped = torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)

    def expected(logits: Tensor, where: Tensor) -> Tensor:
        if loss == "infonce":
            kept = logits.masked_fill(where, -torch.inf)
            return (kept.logsumexp(0) + kept.logsumexp(1)).sum() / 2 - logits.diagonal().sum()
        sign = 2 * torch.eye(3) - 1
        return -F.logsigmoid(sign * logits).masked_fill(where, 0).sum()

    for policy, where in (("ignore", dropped), ("negative", torch.zeros_like(dropped))):
        objective = make(("image", "text"), loss=loss, same_content=policy, scale_init=scale)
        found = objective.global_loss(rows)["contrastive.image-text"].sum
        torch.testing.assert_close(found.double(), expected(logits, where), rtol=1e-5, atol=1e-5)


def test_without_samples_in_common_there_is_no_term() -> None:
    objective = make(("image", "text"))
    assert objective.global_loss({"image": rows_of(unit(2, 1), [1, 2])}) == {}
    assert (
        objective.global_loss({"image": rows_of(unit(2, 1), [1, 2]), "text": rows_of(unit(2, 1), [3, 4])})
        == {}
    )


@BOTH_LOSSES
def test_the_order_in_which_rows_were_gathered_does_not_matter(loss: str) -> None:
    objective = make(("image", "text"), loss=loss)
    a, b, order = unit(6, 1), unit(6, 2), [3, 0, 5, 1, 4, 2]
    straight = {"image": rows_of(a, [*range(6)]), "text": rows_of(b, [*range(6)])}
    mixed = {"image": rows_of(a[order], order), "text": rows_of(b, [*range(6)])}
    term = "contrastive.image-text"
    assert torch.equal(objective.global_loss(straight)[term].sum, objective.global_loss(mixed)[term].sum)


@BOTH_LOSSES
def test_the_scale_is_one_fp32_element_and_is_clamped_after_a_step(loss: str) -> None:
    objective = make(("image", "text"), loss=loss)
    assert objective.scale.full_precision and objective.scale.log_scale_1.shape == (1,)
    assert float(objective.scale().detach()) == pytest.approx(1 / 0.07 if loss == "infonce" else 10)
    with torch.no_grad():
        objective.scale.log_scale_1.fill_(math.log(1e4))
    vectors = {"image": rows_of(unit(4, 1), [*range(4)]), "text": rows_of(unit(4, 2), [*range(4)])}
    assert torch.isfinite(objective.global_loss(vectors)["contrastive.image-text"].sum)
    objective.after_step()
    assert float(objective.scale().detach()) == pytest.approx(100, rel=1e-5)


def test_the_metrics_tell_a_collapse_from_a_spread() -> None:
    objective = make(("image", "text"))
    same = unit(1, 1).expand(200, -1)
    samples = [*range(200)]
    loss = objective.global_loss({"image": rows_of(same, samples), "text": rows_of(unit(200, 2), samples)})
    metrics = loss["contrastive.image-text"].metrics
    assert metrics["std_image"] < 0.02
    assert metrics["std_text"] == pytest.approx(1, abs=0.05)
    assert metrics["R@1"] < 0.05
    right = objective.global_loss(
        {"image": rows_of(unit(200, 2), samples), "text": rows_of(unit(200, 2), samples)}
    )
    assert right["contrastive.image-text"].metrics["R@1"] == 1


def test_an_encoder_that_gives_nothing_but_zeros_is_finite(av_batch: Batch) -> None:
    objective, encoded = make(), encode(av_batch)
    encoded["text"].pooled_BD = torch.zeros(4, ENCODER_WIDTHS["text"])
    _, grads = one_pass(objective, av_batch, encoded)
    assert all(torch.isfinite(grad).all() for grad in grads.values())


@BOTH_LOSSES
def test_ten_steps_reduce_it(av_batch: Batch, loss: str) -> None:
    objective, encoded = make(loss=loss), encode(av_batch)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    history = []
    for _ in range(10):
        losses, grads = two_passes(objective, [(av_batch, encoded)])
        for name, parameter in objective.named_parameters():
            parameter.grad = grads[name]
        optimizer.step()
        objective.after_step()
        history.append(float(sum(losses.values())))
    assert history[-1] < 0.8 * history[0]


def test_bf16_encoders_give_fp32_embeddings(av_batch: Batch) -> None:
    objective = make()
    objective.heads.to(torch.bfloat16)
    encoded: dict[str, Encoded] = encode(av_batch, dtype=torch.bfloat16)
    rows = objective.embeddings(encoded, av_batch)
    assert rows["audio"].vectors_RE.dtype == torch.float32
    torch.testing.assert_close(rows["audio"].vectors_RE.norm(dim=-1), torch.ones(4))
