"""Temporal coherence against a plain loop in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hand_made import encode, initialised, make_batch, make_context, make_modality, one_pass, take, two_passes
from torch import Tensor

from spectranet import Batch, Rows
from spectranet_objectives.config import TemporalConfig
from spectranet_objectives.temporal import Temporal, next_segment_loss, pool_segments, seen_segments

ALL = ("audio", "text", "video")

# clip, segment: unequal clips, a gap in clip 3, one segment alone; large ids that must not be multiplied
IDS = [(3, 0), (3, 1), (3, 3), (3, 4), (3, 5), (2**40, 0), (2**40, 1), (7, 4), (5, 1), (5, 2), (5, 3), (5, 4)]


def make(**options: object) -> Temporal:
    return initialised(Temporal(TemporalConfig(**{"width": 16, **options}), make_context(ALL)))


def rows(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(len(IDS), 5, generator=rng, dtype=torch.float64)
    return F.normalize(z, dim=-1).to(dtype).requires_grad_()


def plain_loop(z: Tensor, margin: int, temperature: float) -> tuple[Tensor, int]:
    place = {one: n for n, one in enumerate(IDS)}
    total, anchors = torch.zeros((), dtype=z.dtype), 0
    for (clip, t), anchor in place.items():
        if (clip, t + 1) not in place:
            continue
        positive = z[anchor] @ z[place[clip, t + 1]] / temperature
        negatives = [
            z[anchor] @ z[other] / temperature
            for (other_clip, other_t), other in place.items()
            if other_clip != clip or abs(other_t - t) >= margin
        ]
        total = total - positive + torch.stack([positive, *negatives]).logsumexp(0)
        anchors += 1
    return total, anchors


@pytest.mark.parametrize("margin", [2, 3, 5])
def test_the_loss_and_its_gradient_equal_a_plain_loop(margin: int) -> None:
    ours, theirs = rows(), rows()
    loss, anchors, _ = next_segment_loss(ours, torch.tensor(IDS), margin, 0.1)
    expected, expected_anchors = plain_loop(theirs, margin, 0.1)
    loss.backward()
    expected.backward()
    assert anchors == expected_anchors == 7
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-10)


def test_the_gradient_agrees_with_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda z: next_segment_loss(z, torch.tensor(IDS), 2, 0.5)[0], (rows(),))


def test_the_order_in_which_rows_were_gathered_does_not_matter() -> None:
    order = torch.randperm(len(IDS), generator=torch.Generator().manual_seed(1))
    straight = next_segment_loss(rows(), torch.tensor(IDS), 2, 0.1)
    mixed = next_segment_loss(rows()[order], torch.tensor(IDS)[order], 2, 0.1)
    torch.testing.assert_close(straight[0], mixed[0], rtol=1e-12, atol=0)
    assert straight[1:] == mixed[1:]


def test_without_neighbouring_segments_there_is_no_anchor() -> None:
    z = rows()[:3]
    loss, anchors, right = next_segment_loss(z, torch.tensor([[0, 0], [0, 2], [1, 1]]), 2, 0.1)
    loss.backward()
    assert (float(loss.detach()), anchors, right) == (0, 0, 0)


def test_a_low_temperature_stays_finite() -> None:
    z = rows(dtype=torch.float32)
    loss, _, _ = next_segment_loss(z, torch.tensor(IDS), 2, 1e-4)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_segments_are_means_of_their_visible_tokens(av_batch: Batch) -> None:
    encoded = encode(av_batch)["video"]
    poison = encoded.tokens_BND.masked_fill(~encoded.valid_BN.unsqueeze(-1), torch.nan)
    encoded.tokens_BND = poison  # what stands at padding must not matter
    seen_BS = seen_segments(av_batch.modalities["video"])
    mean_BSD = pool_segments(encoded, seen_BS.shape[1])
    # two tokens a segment; sample 0 hides tokens 0 and 1, so its segment 0 is not seen
    assert seen_BS.tolist() == [
        [False, True, True, True],
        [True, True, True, False],
        [True, True, True, True],
        [True, False, False, False],
    ]
    for b in range(4):
        for s in range(4):
            mine = [n for n in range(encoded.valid_BN.shape[1]) if encoded.segment_BN[b, n] == s]
            mine = [n for n in mine if encoded.valid_BN[b, n]]
            if mine:
                torch.testing.assert_close(mean_BSD[b, s], encoded.tokens_BND[b, mine].mean(0))


def test_rows_carry_clip_and_segment(av_batch: Batch) -> None:
    rows = make().embeddings(encode(av_batch), av_batch)
    assert set(rows) == {"audio", "video"}
    assert [tuple(r) for r in rows["video"].ids_RI.tolist()][:4] == [(0, 1), (0, 2), (0, 3), (1, 0)]
    torch.testing.assert_close(rows["video"].vectors_RE.norm(dim=-1), torch.ones(3 + 3 + 4 + 1))


def test_a_clip_with_everything_hidden_has_no_rows() -> None:
    batch = make_batch({"video": make_modality([2, 2], [[0, 1], [0, 1]], segment_tokens=1)})
    rows = make().embeddings(encode(batch), batch)
    assert rows["video"].vectors_RE.shape == (0, 16) and rows["video"].ids_RI.shape == (0, 2)
    assert make().global_loss(rows) == {}


@pytest.mark.parametrize("cut", [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[3, 1], [0, 2]]])
def test_two_passes_over_any_cut_give_the_gradient_of_the_whole(
    av_batch: Batch, cut: list[list[int]]
) -> None:
    objective, encoded = make(variance_floor=1.0), encode(av_batch)
    losses, grads = two_passes(objective, [take(av_batch, encoded, rows) for rows in cut])
    whole_losses, whole_grads = one_pass(objective, av_batch, encoded)
    assert set(losses) == set(objective.terms)
    torch.testing.assert_close(losses, whole_losses, rtol=1e-5, atol=1e-6)
    for name, grad in grads.items():
        assert (grad - whole_grads[name]).norm() <= 1e-5 * whole_grads[name].norm(), name


def guard(z: Tensor, **options: object) -> tuple[float, float]:
    ids = torch.stack([torch.arange(len(z)), torch.zeros(len(z), dtype=torch.int64)], dim=1)
    loss = make(**options).global_loss({"video": Rows(z, ids)})["temporal_variance.video"]
    return float(loss.sum.detach()) / loss.weight, loss.metrics["std"]


def test_the_guard_is_the_hinge_on_the_spread_of_each_dimension() -> None:
    z = F.normalize(torch.randn(30, 16) + 1.5, dim=-1)
    expected = sum(max(0.0, 0.9 - math.sqrt(16 * float(z[:, d].double().var()) + 1e-4)) for d in range(16))
    assert guard(z, variance_floor=0.9, variance_weight=3.0)[0] == pytest.approx(3 * expected / 16, rel=1e-4)


def test_the_guard_sees_a_collapse_and_pulls_out_of_it() -> None:
    collapsed = F.normalize(torch.ones(30, 16) + 1e-3 * torch.randn(30, 16), dim=-1)
    even = F.normalize(torch.randn(300, 16), dim=-1)
    assert guard(even) == (0.0, pytest.approx(1, abs=0.05))
    loss, std = guard(collapsed)
    assert loss > 0.4 and std < 0.05
    z = collapsed.clone().requires_grad_()
    before = guard(collapsed)[1]
    for _ in range(10):
        ids = torch.stack([torch.arange(30), torch.zeros(30, dtype=torch.int64)], dim=1)
        make().global_loss({"video": Rows(z, ids)})["temporal_variance.video"].sum.backward()
        z = F.normalize(z.detach() - 0.05 * z.grad, dim=-1).requires_grad_()
    assert guard(z.detach())[1] > 2 * before


def test_without_its_weight_the_guard_has_no_term(av_batch: Batch) -> None:
    objective = make(variance_weight=0.0)
    assert objective.terms == ("temporal.audio", "temporal.video")
    assert set(objective.global_loss(objective.embeddings(encode(av_batch), av_batch))) == set(
        objective.terms
    )


def test_a_run_without_time_has_no_terms() -> None:
    objective = Temporal(TemporalConfig(), make_context(("image", "text")))
    batch = make_batch({"image": make_modality([3, 3]), "text": make_modality([2, 4])})
    assert objective.terms == () and objective.embeddings(encode(batch), batch) == {}
    assert objective.global_loss({}) == {}


def test_ten_steps_reduce_it(av_batch: Batch) -> None:
    objective, encoded = make(), encode(av_batch)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
    history = []
    for _ in range(10):
        losses, grads = two_passes(objective, [(av_batch, encoded)])
        for name, parameter in objective.named_parameters():
            parameter.grad = grads[name]
        optimizer.step()
        history.append(float(sum(losses.values())))
    assert history[-1] < 0.8 * history[0]
