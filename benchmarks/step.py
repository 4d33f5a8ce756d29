"""What a training step costs: against a bare loop, open_clip and FLAVA, and what exactness adds.

    python benchmarks/step.py [--quick] [--only decoder,bare,open_clip,accumulated,flava,exact,host]

Peers come with ``nox -s bench``. Ten minutes, or 45 s with ``--quick``. One thread; figures are medians
over rounds of the ratio of process CPU time, the sides taking turns. CLIP's towers are those of open_clip's
ViT-B-32, its widths, heads, patch, text length and vocabulary, with fewer blocks, so that a step takes
seconds and not minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from step_bare import compare_with_bare_loop, compare_with_bare_loop_tiny
from step_decoder import compare_decoders
from step_exact import price_exactness
from step_flava import compare_with_flava
from step_host import price_host
from step_open_clip import compare_with_open_clip, compare_with_open_clip_accumulated

from spectranet.train.distributed import leave

_PARTS = ("decoder", "bare", "host", "open_clip", "accumulated", "flava", "exact")
_QUICK = ("decoder", "bare", "host", "open_clip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help=f"at most 45 s on two cores: {', '.join(_QUICK)}"
    )
    parser.add_argument("--only", help="parts to run, separated by commas")
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else _QUICK if options.quick else _PARTS
    torch.set_num_threads(1)  # waiting threads would count as CPU time
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), parts, options.quick)
    leave(0)


def run(folder: Path, parts: Sequence[str], quick: bool) -> None:
    layers, samples, budget_s = (1, 2, 1.0) if quick else (3, 8, 60.0)  # 10 rounds of each part and more
    if "decoder" in parts:
        compare_decoders(samples, budget_s)
    if "bare" in parts:
        compare_with_bare_loop(folder, budget_s, layers, samples)
        if not quick:
            compare_with_bare_loop_tiny(folder, budget_s)
    if "open_clip" in parts:
        compare_with_open_clip(folder, budget_s, layers, samples)
    if "accumulated" in parts:
        compare_with_open_clip_accumulated(folder, budget_s, layers, samples)
    if "flava" in parts:
        compare_with_flava(folder, budget_s, layers=1, samples=1 if quick else 4)
    if "exact" in parts:
        price_exactness(folder, budget_s, layers, samples, micro_batches=2 if quick else 4)
    if "host" in parts:
        price_host(folder / "host", 50 if quick else 400)


if __name__ == "__main__":
    main()
