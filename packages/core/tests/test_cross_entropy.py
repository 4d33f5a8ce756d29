"""Cross-entropy in chunks is that of full logits: the loss, its gradients, and far less memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from spectranet import chunked_cross_entropy
from spectranet.model import cross_entropy
from spectranet.train.distributed import World, start_world


def full_logits(states: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> Tensor:
    """In float64, whatever the inputs are."""
    logits = F.linear(states.double(), weight.double(), None if bias is None else bias.double())
    return F.cross_entropy(logits, targets.clamp_min(-1), ignore_index=-1, reduction="sum")


def leaves(rows: int, width: int, vocabulary: int, seed: int = 0, spread: float = 1.0) -> list[Tensor]:
    """States, weight and bias in fp32."""
    rng = torch.Generator().manual_seed(seed)
    shapes = (rows, width), (vocabulary, width), (vocabulary,)
    return [(spread * torch.randn(s, generator=rng)).requires_grad_() for s in shapes]


def copies(tensors: list[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [t.detach().to(dtype).requires_grad_() for t in tensors]


@settings(deadline=None, max_examples=80)
@given(
    rows=st.integers(0, 9),
    width=st.integers(1, 5),
    vocabulary=st.integers(1, 8),
    chunk=st.integers(1, 11),
    ignored=st.floats(0, 1),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    has_bias=st.booleans(),
    forbidden=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_sizes_chunks_and_targets_give_the_loss_and_gradients_of_full_logits(
    rows: int,
    width: int,
    vocabulary: int,
    chunk: int,
    ignored: float,
    spread: float,
    has_bias: bool,
    forbidden: bool,
    seed: int,
) -> None:
    rng = torch.Generator().manual_seed(seed)
    states, weight, bias = copies(leaves(rows, width, vocabulary, seed, spread))
    targets = torch.randint(vocabulary, (rows,), generator=rng)
    if forbidden and has_bias and vocabulary > 1:
        with torch.no_grad():
            bias[-1] = -torch.inf
        targets %= vocabulary - 1
    targets[torch.rand(rows, generator=rng) < ignored] = -3
    ours = [states, weight, bias] if has_bias else [states, weight]
    theirs = copies(ours)
    found = chunked_cross_entropy(states, weight, targets, bias_V=bias if has_bias else None, chunk=chunk)
    expected = full_logits(theirs[0], theirs[1], targets, theirs[2] if has_bias else None)
    (3 * found).backward()
    (3 * expected).backward()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype, most", [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
def test_the_precision_of_the_inputs_bounds_the_error(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, most: float
) -> None:
    monkeypatch.setattr(cross_entropy, "_PIECES", 700)  # so that several are put together
    states, weight, bias = copies(leaves(200, 64, 3000), dtype)
    with torch.no_grad():
        weight /= 8  # logits of variance 1
    targets = torch.randint(3000, (200,), generator=torch.Generator().manual_seed(1))
    exact = copies([states, weight, bias])
    found = chunked_cross_entropy(states, weight, targets, bias_V=bias, chunk=64)
    expected = full_logits(exact[0], exact[1], targets, exact[2])
    found.backward()
    expected.backward()
    assert found.dtype == torch.float32
    assert abs(found.double() - expected) <= most * expected
    for mine, other in zip((states, weight, bias), exact, strict=True):
        assert mine.grad.dtype == dtype
        # a number of 8 bits is off by up to 2^-9 of itself: the products' inputs, then the result
        assert (mine.grad.double() - other.grad).norm() <= (1e-5 if most < 1e-4 else 8e-3) * other.grad.norm()


def test_finite_differences_agree() -> None:
    states, weight, bias = copies(leaves(5, 3, 4))
    targets = torch.tensor([0, 3, -1, 2, 2])
    assert torch.autograd.gradcheck(
        lambda s, w, b: chunked_cross_entropy(s, w, targets, bias_V=b, chunk=2), (states, weight, bias)
    )


def test_only_what_asks_for_a_gradient_gets_one() -> None:
    states, weight, bias = leaves(5, 3, 4)
    targets = torch.tensor([0, 3, 1, 2, 2])
    chunked_cross_entropy(states.detach(), weight, targets, bias_V=bias.detach()).backward()
    assert weight.grad is not None and states.grad is None and bias.grad is None
    with torch.no_grad():
        assert not chunked_cross_entropy(states, weight, targets).requires_grad


def test_logits_of_all_rows_are_never_held() -> None:
    states, weight, bias = leaves(1024, 8, 2000)
    targets = torch.zeros(1024, dtype=torch.int64)
    with torch.profiler.profile(profile_memory=True) as profile:
        chunked_cross_entropy(states, weight, targets, bias_V=bias, chunk=64).backward()
    taken = [event.self_cpu_memory_usage for event in profile.events()]
    assert 64 * 2000 * 4 <= max(taken) <= 2 * 64 * 2000 * 4


def test_autocast_changes_nothing() -> None:
    states, weight, bias = leaves(5, 3, 4)
    targets = torch.tensor([0, 3, -1, 2, 2])
    plain = chunked_cross_entropy(states, weight, targets, bias_V=bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(chunked_cross_entropy(states, weight, targets, bias_V=bias), plain)


@pytest.fixture
def world() -> Iterator[World]:
    """A group of one, of which nothing is left."""
    yield start_world("cpu", 1)
    dist.destroy_process_group()


class Head(nn.Linear):
    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        return chunked_cross_entropy(states, self.weight, targets, bias_V=self.bias, chunk=4)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_head_sharded_by_fsdp_gets_its_gradients(world: World, bf16: bool) -> None:
    torch.manual_seed(0)
    head = Head(16, 30)
    states, targets = torch.randn(10, 16), torch.randint(30, (10,))
    exact = copies([states, head.weight, head.bias])
    full_logits(exact[0], exact[1], targets, exact[2]).backward()
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
    fully_shard(head, mesh=world.mesh, mp_policy=policy)
    head(states, targets).backward()
    for parameter, expected in zip((head.weight, head.bias), exact[1:], strict=True):
        assert isinstance(parameter.grad, DTensor) and parameter.grad.dtype == torch.float32
        error = parameter.grad.full_tensor().double() - expected.grad
        assert error.norm() <= (2e-2 if bf16 else 1e-5) * expected.grad.norm()
