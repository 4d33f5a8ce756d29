"""Pair losses made tile by tile, against closed forms in float64 and against open_clip."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spectranet_objectives import streaming
from spectranet_objectives.contrastive import info_nce
from spectranet_objectives.streaming import reduce_both_ways, reduce_rows, sigmoid_pair_loss


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every test crosses the borders of tiles, in either direction."""
    monkeypatch.setattr(streaming, "_CPU_TILE", (3, 4))


def unit_rows(rows: int, width: int = 8, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, width, generator=rng, dtype=torch.float64)
    return F.normalize(vectors, dim=-1).to(dtype).requires_grad_()


def one(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([value], dtype=dtype, requires_grad=True)


def closed_form(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    logits = scale * a @ b.T
    right = torch.arange(len(a))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2 * len(a)


@pytest.mark.parametrize("rows", [1, 2, 13])
def test_info_nce_equals_the_closed_form_with_all_gradients(rows: int) -> None:
    ours = [unit_rows(rows, seed=1), unit_rows(rows, seed=2), one(9.0)]
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    loss, _ = info_nce(*ours)
    loss.backward()
    expected = closed_form(*theirs)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-11)


def test_info_nce_in_fp32_is_as_exact_as_fp32_can_be() -> None:
    a, b, scale = unit_rows(40, seed=1), unit_rows(40, seed=2), one(100.0)
    closed_form(a, b, scale).backward()
    small = [t.detach().float().requires_grad_() for t in (a, b, scale)]
    info_nce(*small)[0].backward()
    for mine, exact in zip(small, (a, b, scale), strict=True):
        assert (mine.grad.double() - exact.grad).norm() <= 1e-5 * exact.grad.norm()


def test_info_nce_equals_open_clip() -> None:
    open_clip = pytest.importorskip("open_clip")
    ours = [unit_rows(17, seed=3, dtype=torch.float32), unit_rows(17, seed=4, dtype=torch.float32)]
    ours.append(one(14.0, torch.float32))
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    loss, _ = info_nce(*ours)
    (loss / 17).backward()
    expected = open_clip.loss.ClipLoss()(*theirs)
    expected.backward()
    torch.testing.assert_close(loss / 17, expected)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_sigmoid_loss_equals_open_clip() -> None:
    open_clip = pytest.importorskip("open_clip")
    ours = [unit_rows(17, seed=3, dtype=torch.float32), unit_rows(17, seed=4, dtype=torch.float32)]
    ours += [one(10.0, torch.float32), one(-10.0, torch.float32)]
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    loss, _ = sigmoid_pair_loss(*ours)
    (loss / 17).backward()
    expected = open_clip.loss.SigLipLoss()(*theirs)
    expected.backward()
    torch.testing.assert_close(loss / 17, expected)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def some_pairs(rows: slice, columns: slice) -> Tensor:
    """A third of the pairs is dropped; the diagonal stays."""
    i, j = torch.arange(7)[rows, None], torch.arange(7)[columns]
    return ((i + 2 * j) % 3 != 0) | (i == j)


EVERYTHING = (slice(None), slice(None))


@pytest.mark.parametrize("keep", [None, some_pairs])
def test_gradients_agree_with_finite_differences(keep: streaming.Keep | None) -> None:
    a, b, scale, bias = unit_rows(7, 3, seed=1), unit_rows(7, 3, seed=2), one(3.0), one(-0.5)
    assert torch.autograd.gradcheck(lambda *x: reduce_both_ways(*x, keep)[:3], (a, b, scale))
    assert torch.autograd.gradcheck(lambda *x: reduce_rows(*x, keep)[0], (a, b, scale))
    assert torch.autograd.gradcheck(lambda *x: sigmoid_pair_loss(*x, keep)[0], (a, b, scale, bias))


def test_dropped_pairs_count_in_no_direction() -> None:
    a, b, scale = unit_rows(7, seed=1), unit_rows(7, seed=2), one(5.0)
    logits = (scale * a @ b.T).masked_fill(~some_pairs(*EVERYTHING), -torch.inf)
    reduced = reduce_both_ways(a, b, scale, some_pairs)
    torch.testing.assert_close(reduced.lse_R, logits.logsumexp(1))
    torch.testing.assert_close(reduced.lse_C, logits.logsumexp(0))
    assert torch.equal(reduced.right_R, logits.argmax(1) == torch.arange(7))
    assert torch.equal(reduced.right_C, logits.argmax(0) == torch.arange(7))


@settings(deadline=None, max_examples=80)
@given(
    rows=st.integers(0, 12),
    more=st.integers(0, 9),
    width=st.integers(1, 6),
    tile=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    scale=st.sampled_from([1e-3, 1.0, 100.0, -100.0, 1e5]),
    dropped=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_any_sizes_tiles_scales_and_dropped_pairs_give_the_closed_form(
    rows: int, more: int, width: int, tile: tuple[int, int], scale: float, dropped: float, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    kept = torch.rand(rows, rows + more, generator=rng) >= dropped
    kept |= torch.eye(rows, rows + more, dtype=torch.bool)
    a, b = unit_rows(rows, width, seed=seed), unit_rows(rows + more, width, seed=seed + 1)
    factors_R = torch.randn(rows, generator=rng, dtype=torch.float64)
    ours, theirs = [a, b, one(scale)], [t.detach().clone().requires_grad_() for t in (a, b, one(scale))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_CPU_TILE", tile)
        found = reduce_rows(*ours, lambda r, c: kept[r, c])
        (factors_R * found.lse_R - found.positive_R).sum().backward()
    logits = (theirs[2] * theirs[0] @ theirs[1].T).masked_fill(~kept, -torch.inf)
    (factors_R * logits.logsumexp(1) - logits.diagonal()).sum().backward()
    torch.testing.assert_close(found.lse_R, logits.logsumexp(1))
    others = logits.detach().masked_fill(torch.eye(rows, rows + more, dtype=torch.bool), -torch.inf)
    assert torch.equal(found.right_R, (logits.diagonal()[:, None] > others).all(1))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-8 * max(1, abs(scale)))


@pytest.mark.parametrize("keep", [None, lambda rows, columns: torch.ones(1, 1, dtype=torch.bool)])
def test_no_rows_give_zero_and_gradients(keep: streaming.Keep | None) -> None:
    a, b, scale, bias = unit_rows(0), unit_rows(0), one(5.0), one(0.0)
    total = reduce_both_ways(a, b, scale, keep).lse_R.sum() + sigmoid_pair_loss(a, b, scale, bias, keep)[0]
    total.backward()
    assert total == 0 and scale.grad == 0 and bias.grad == 0 and a.grad.shape == (0, 8)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_stay_finite(size: float) -> None:
    a, b = unit_rows(9, seed=1, dtype=torch.float32), unit_rows(9, seed=1, dtype=torch.float32)
    scale, bias = one(size, torch.float32), one(0.0, torch.float32)
    total = info_nce(a, b, scale)[0] + sigmoid_pair_loss(a, b, scale, bias)[0]
    total.backward()
    assert all(torch.isfinite(t).all() for t in (total, a.grad, b.grad, scale.grad, bias.grad))


def test_the_recall_is_that_of_both_directions() -> None:
    a = torch.eye(4)
    b = torch.stack([a[0], a[1], a[3], a[3] * 0.9 + a[2] * 0.1])
    # a to b: 0, 1 and 3 -> b2 (1.0 > 0.9) is wrong, 2 -> b3 is wrong; b to a: b2 -> 3 is wrong, b3 -> 3
    assert info_nce(a, b, torch.ones(1))[1] == pytest.approx((2 / 4 + 3 / 4) / 2)


def test_what_is_as_near_as_another_is_not_found() -> None:
    """Vectors that have collapsed into one must not look like perfect retrieval."""
    same = torch.tensor([[1.0, 0.0]]).expand(9, 2)
    assert info_nce(same, same, torch.ones(1))[1] == 0
    assert not sigmoid_pair_loss(same, same, torch.ones(1), torch.zeros(1))[1].any()


def test_autocast_does_not_lower_the_precision() -> None:
    a, b = unit_rows(9, seed=1, dtype=torch.float32), unit_rows(9, seed=2, dtype=torch.float32)
    plain = reduce_rows(a, b, torch.full((1,), 50.0)).lse_R
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(reduce_rows(a, b, torch.full((1,), 50.0)).lse_R, plain)


def test_memory_grows_with_the_rows_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation takes as much as a hundredth of the matrix of all pairs."""
    monkeypatch.setattr(streaming, "_CPU_TILE", (64, 64))
    a, b, scale = (t.float().detach().requires_grad_() for t in (unit_rows(1500), unit_rows(1500), one(5.0)))
    with torch.profiler.profile(profile_memory=True) as profile:
        info_nce(a, b, scale)[0].backward()
    taken = [event.self_cpu_memory_usage for event in profile.events()]
    assert 64 * 64 * 4 <= max(taken) < 1500 * 1500 * 4 / 100
