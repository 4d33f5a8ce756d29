"""Cross-entropy over 32,000 pieces, forward and backward: ours against full logits.

    python benchmarks/cross_entropy.py [--quick]

Ours is what the text's target head and the objective ``captioning`` call, ``chunked_cross_entropy``; the
other side is what one would write: ``F.cross_entropy(F.linear(states, weight, bias).float(), targets)``,
and beside it ``torch.nn.functional.linear_cross_entropy`` where this torch has it. 4,096 hidden tokens,
width 768, one thread. Extra memory is the peak of resident memory over the state before, each in a
process of its own; it includes the gradients. Errors are relative, against float64 on the same inputs:
the loss, and the gradient at states and weight.

``ce.memory_ratio`` and ``ce.time_ratio`` are fp32; those in bf16 have the suffix ``_bf16``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from interleaved import figure, measure, table
from peak_memory import in_fresh_process
from torch import Tensor

from spectranet import chunked_cross_entropy

VOCABULARY, WIDTH = 32_000, 768
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Sizes = tuple[int, str]
"""Hidden tokens, and the name of their dtype."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="at most 45 s on two cores: fp32, times of 1,024 tokens"
    )
    quick = parser.parse_args().quick
    torch.set_num_threads(1)  # waiting threads would count as CPU time
    compare_errors(256 if quick else 2048)
    for dtype in ("fp32",) if quick else DTYPES:
        compare_memory((4096, dtype), quick)
    for dtype in ("fp32",) if quick else DTYPES:
        compare_times((1024 if quick else 4096, dtype), quick)


# -------------------------------------------------------------------------------------------- sides


def chunked(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return chunked_cross_entropy(states, weight, targets, bias_V=bias)


def full(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(states, weight, bias).float(), targets, reduction="sum")


def of_torch(states: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return F.linear_cross_entropy(states, weight, targets, linear_bias=bias, reduction="sum")


SIDES = {"ours": chunked, "full logits": full}
if hasattr(F, "linear_cross_entropy"):
    SIDES["torch"] = of_torch


def inputs(sizes: Sizes) -> tuple[list[Tensor], Tensor]:
    """States, weight and bias; targets that the logits favour, as those of a model in training."""
    tokens, dtype = sizes
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH, generator=rng) * WIDTH**-0.5
    targets = torch.randint(VOCABULARY, (tokens,), generator=rng)
    states = torch.randn(tokens, WIDTH, generator=rng) + 5 * weight[targets]
    bias = 0.1 * torch.randn(VOCABULARY, generator=rng)
    return [x.to(DTYPES[dtype]).requires_grad_() for x in (states, weight, bias)], targets


def step(side: str, sizes: Sizes) -> Callable[[], object]:
    tensors, targets = inputs(sizes)

    def run() -> None:
        for tensor in tensors:
            tensor.grad = None
        (SIDES[side](*tensors, targets) / len(targets)).backward()

    return run


# ------------------------------------------------------------------------------------- comparisons


def compare_errors(tokens: int) -> None:
    print(f"\nRelative error against float64, {tokens} hidden tokens: loss, gradient")
    for dtype in DTYPES:
        (states, weight, bias), targets = inputs((tokens, dtype))
        exact = [x.detach().double().requires_grad_() for x in (states, weight, bias)]
        expected = F.cross_entropy(F.linear(*exact), targets, reduction="sum")
        expected.backward()
        for name, side in SIDES.items():
            for x in (states, weight, bias):
                x.grad = None
            found = side(states, weight, bias, targets)
            found.backward()
            off = abs(float(found.detach().double() / expected.detach()) - 1)
            worst = max(relative_error(x, y) for x, y in zip((states, weight), exact, strict=False))
            print(f"  {dtype}  {name:<12} {off:.2e}   {worst:.2e}")
            if name == "ours":
                figure(f"ce.error_{dtype}", off, "relative")
                figure(f"ce.grad_error_{dtype}", worst, "relative")


def relative_error(found: Tensor, exact: Tensor) -> float:
    assert found.grad is not None and exact.grad is not None
    return float((found.grad.double() - exact.grad).norm() / exact.grad.norm())


def compare_memory(sizes: Sizes, quick: bool) -> None:
    tokens, dtype = sizes
    print(f"\nExtra peak of resident memory, {tokens} hidden tokens, {dtype}")
    peaks = {}
    for name in _sides(quick):
        peaks[name] = in_fresh_process(
            partial(step, name), (16, dtype), sizes, threads=2 if quick else 1
        ).extra_mib
        print(f"  {name:<12} {peaks[name]:8.1f} MiB")
    figure(f"ce.memory_ratio{suffix(dtype)}", peaks["ours"] / peaks["full logits"], "x")


def compare_times(sizes: Sizes, quick: bool) -> None:
    tokens, dtype = sizes
    timings = measure({name: step(name, sizes) for name in _sides(quick)}, 3 if quick else 5, budget_s=120)
    table(
        f"{tokens} hidden tokens of {VOCABULARY} pieces, width {WIDTH}, {dtype}, forward and backward",
        timings,
    )
    figure(f"ce.time_ratio{suffix(dtype)}", timings["ours"].ratio_to(timings["full logits"]), "x")


def _sides(quick: bool) -> list[str]:
    return ["ours", "full logits"] if quick else list(SIDES)


def suffix(dtype: str) -> str:
    return "" if dtype == "fp32" else f"_{dtype}"


if __name__ == "__main__":
    main()
