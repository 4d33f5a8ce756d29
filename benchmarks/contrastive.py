"""The contrastive loss over a large batch, forward and backward: ours against open_clip's ClipLoss.

    python benchmarks/contrastive.py [--quick]

Ours is ``global_loss`` of the objective ``contrastive`` as training calls it: rows matched by the ids of
their samples, gathered in no order, loss and metrics. Width 512, fp32, one thread. Extra memory is
the peak of resident memory over the state before, each in a process of its own; it includes the
gradients at both inputs. open_clip's side at 32,768 rows would need some 20 GiB: its time and memory
there are sixteen times those at 8,192, the growth of the matrix of all pairs.

``contrastive.grad_error_ratio`` is the largest, over scales, of our relative gradient error against
float64 over open_clip's, at 2,048 rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from interleaved import Timing, figure, table
from peak_memory import Peak, in_fresh_process
from torch import Tensor

from spectranet.contracts import BuildContext, Rows
from spectranet_objectives.config import ContrastiveConfig
from spectranet_objectives.contrastive import Contrastive

WIDTH = 512
SCALE = 1 / 0.07
SMALL, MIDDLE, LARGE = 2048, 8192, 32768


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 45 s on two cores: 8,192 rows")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)  # waiting threads would count as CPU time
    compare_gradients()
    peaks = compare_memory(quick)
    timings = {
        rows: compare_times(rows, rounds)
        for rows, rounds in ((SMALL, 3 if quick else 9), (MIDDLE, 1 if quick else 5))
    }
    for rows, sides in timings.items():
        figure(f"contrastive.speedup_{rows}", 1 / sides["ours"].ratio_to(sides["open_clip"]), "x")
    if not quick:
        report_large(peaks, timings[MIDDLE]["open_clip"])


# -------------------------------------------------------------------------------------------- sides


def pairs(rows: int) -> tuple[Tensor, Tensor]:
    """Unit vectors; partners at a cosine of about 0.3, the others at about 0."""
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(rows, WIDTH, generator=rng)
    b = torch.randn(rows, WIDTH, generator=rng) + 0.3 * a
    return F.normalize(a, dim=-1).requires_grad_(), F.normalize(b, dim=-1).requires_grad_()


def ours(rows: int) -> Callable[[], object]:
    a, b = pairs(rows)
    ids = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    step = our_step(
        {"image": Rows(a, torch.stack([ids, ids], 1)), "text": Rows(b, torch.stack([ids, ids], 1))}
    )
    return lambda: (clear(a, b), step())


def our_step(rows: dict[str, Rows], objective: Contrastive | None = None) -> Callable[[], Tensor]:
    objective = objective or contrastive(SCALE)

    def step() -> Tensor:
        loss = objective.global_loss(rows)["contrastive.image-text"]
        (loss.sum / loss.weight).backward()
        return loss.sum.detach()

    return step


def contrastive(scale: float) -> Contrastive:
    both = frozenset({"image", "text"})
    context = BuildContext(8, dict.fromkeys(both, 8), (), {}, torch.nn.Linear, (both,))
    objective = Contrastive(ContrastiveConfig(scale_init=scale), context)
    objective.init_weights()
    return objective


def open_clip(rows: int) -> Callable[[], object]:
    (a, b), loss = pairs(rows), clip_loss()
    scale = torch.tensor([SCALE], requires_grad=True)
    return lambda: (clear(a, b), loss(a, b, scale).backward())


def clip_loss() -> torch.nn.Module:
    from open_clip.loss import ClipLoss  # heavy, and no part of our side's process

    return ClipLoss()


def clear(*tensors: Tensor) -> None:
    for tensor in tensors:
        tensor.grad = None


SIDES = {"ours": ours, "open_clip": open_clip}

# ------------------------------------------------------------------------------------- comparisons


def compare_gradients() -> None:
    print(f"\nRelative error of the gradient against float64, {SMALL} rows")
    ratios = []
    ids = torch.arange(SMALL)[:, None].expand(-1, 2)
    for scale in (SCALE, 100.0):
        objective = contrastive(scale)
        used_1 = objective.scale().detach()  # the parameter is its logarithm, and rounds
        a, b = pairs(SMALL)
        our_step({"image": Rows(a, ids), "text": Rows(b, ids)}, objective)()
        sides = {"ours": (a, b), "open_clip": pairs(SMALL)}
        clip_loss()(*sides["open_clip"], used_1).backward()
        c, d = (t.detach().double().requires_grad_() for t in pairs(SMALL))
        clip_loss()(c, d, used_1.double()).backward()
        off = {name: relative_error(side, (c, d)) for name, side in sides.items()}
        print(f"  scale {scale:6.1f}   ours {off['ours']:.2e}   open_clip {off['open_clip']:.2e}")
        ratios.append(off["ours"] / off["open_clip"])
    figure("contrastive.grad_error_ratio", max(ratios), "x")


def relative_error(found: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> float:
    gradient, expected = (torch.cat([t.grad for t in pair]).double() for pair in (found, exact))
    return float((gradient - expected).norm() / expected.norm())


def compare_memory(quick: bool) -> dict[tuple[str, int], Peak]:
    print("\nExtra peak of resident memory" + ("" if quick else ", and CPU time of that one run"))
    runs = [(name, MIDDLE) for name in SIDES]
    if not quick:
        runs += [(name, SMALL) for name in SIDES] + [("ours", LARGE)]
    peaks = {}
    for name, rows in runs:
        peaks[name, rows] = peak = in_fresh_process(SIDES[name], 256, rows, threads=2 if quick else 1)
        print(
            f"  {rows:6} rows  {name:<10} {peak.extra_mib:9.1f} MiB"
            + ("" if quick else f" {peak.cpu_s:8.2f} s")
        )
    for name, rows in peaks:
        label = "contrastive.extra_mib" if name == "ours" else "contrastive.open_clip_extra_mib"
        figure(f"{label}_{rows}", peaks[name, rows].extra_mib, "MiB")
    return peaks


def compare_times(rows: int, rounds: int) -> dict[str, Timing]:
    """In turn; only a small run warms up, since one of the real size takes as long as a round."""
    sides = {name: make(rows) for name, make in SIDES.items()}
    for make in SIDES.values():
        make(256)()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for done in range(rounds):
        for name in sorted(sides, reverse=done % 2 == 1):
            start = time.process_time()
            sides[name]()
            seconds[name].append(time.process_time() - start)
    timings = {name: Timing(tuple(each)) for name, each in seconds.items()}
    table(f"{rows} rows, width {WIDTH}, forward and backward", timings)
    return timings


def report_large(peaks: dict[tuple[str, int], Peak], theirs: Timing) -> None:
    growth = (LARGE // MIDDLE) ** 2
    mib, seconds = peaks["open_clip", MIDDLE].extra_mib * growth, theirs.median * growth
    print(f"\n{LARGE} rows; open_clip by extrapolation from {MIDDLE}: {mib:.0f} MiB, {seconds:.0f} s")
    figure(f"contrastive.open_clip_extra_mib_{LARGE}_extrapolated", mib, "MiB")
    figure(f"contrastive.speedup_{LARGE}_extrapolated", seconds / peaks["ours", LARGE].cpu_s, "x")


if __name__ == "__main__":
    main()
