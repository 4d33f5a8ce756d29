"""The gradient of a step is that of one process holding the whole batch, and costs no more memory.

Real modalities and all four objectives together, micro-batches of three sources in turn, on one rank and on
two. ``pytest -s`` prints the table of errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from launch import launch

CUTS = [(ranks, *cut) for ranks in (1, 2) for cut in ((1, False), (2, False), (8, False), (2, True))]
ZERO = 1e-12
"""Share of the whole gradient's norm. A softmax takes no notice of a bias of the keys, so the gradient of one
is zero, and what is computed is rounding."""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[Any, Any]:
    """What one process computed plainly, and (ranks, micro-batches, graphs kept) -> gradient."""
    folder, found = tmp_path_factory.mktemp("exact"), {}
    for ranks in (1, 2):
        launch(Path(__file__).parent / "cut_and_compare.py", folder / f"{ranks}.pt", ranks=ranks)
        saved = torch.load(folder / f"{ranks}.pt", weights_only=True)
        found |= {(ranks, *key) if isinstance(key, tuple) else key: value for key, value in saved.items()}
    return found


def errors(found: dict[Any, Any], cut: tuple[int, int, bool]) -> tuple[float, float, float]:
    """Against float64: the whole gradient's, the worst parameter's, and of those that should be zero."""
    exact, ours = found["whole"], found[cut]
    assert ours.keys() == exact.keys()
    norm = torch.stack([each.norm() for each in exact.values()]).norm()
    wrong = {name: (ours[name].double() - exact[name]).norm() for name in exact}
    nothing = {name for name, each in exact.items() if each.norm() < ZERO * norm}
    assert all("key" in name or "k_proj" in name for name in nothing)
    return (
        float(torch.stack([*wrong.values()]).norm() / norm),
        max(float(wrong[name] / exact[name].norm()) for name in exact.keys() - nothing),
        max(float(wrong[name] / norm) for name in nothing),
    )


def test_every_objective_and_modality_takes_part(found) -> None:
    assert set(found["losses"]) == {
        *("mmm.audio", "mmm.image", "mmm.text", "mmm.video", "captioning.text"),
        *("contrastive.audio-text", "contrastive.audio-video", "contrastive.image-text"),
        *("contrastive.text-video", "temporal.audio", "temporal.video"),
        *("temporal_variance.audio", "temporal_variance.video"),
    }
    assert all(value > 0 for value in found["losses"].values())


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: "{} ranks, {} micro-batches, kept {}".format(*cut))
def test_gradient_is_that_of_one_process_with_the_full_batch(found, cut) -> None:
    whole, worst, of_nothing = errors(found, cut)
    ranks, count, keep = cut
    print(
        f"\n{ranks} ranks, {count} micro-batches of each source, graphs {'kept' if keep else 'run twice'}:"
        f" relative error {whole:.1e}, worst parameter {worst:.1e}"
    )
    assert whole < 1e-5
    assert worst < 1e-5
    assert of_nothing < 1e-6


def test_memory_does_not_grow_with_the_micro_batches(found) -> None:
    peaks = found["peaks"]
    few, some, many = (peaks[count, False] for count in (2, 8, 32))
    print(
        f"\nMiB above parameters and gradients: 2 micro-batches {few / 2**20:.2f}, 8 {some / 2**20:.2f}, ",
        end="",
    )
    print(
        f"32 {many / 2**20:.2f}; graphs kept: 2 {peaks[2, True] / 2**20:.1f}, 8 {peaks[8, True] / 2**20:.1f}"
    )
    assert many < 1.1 * few
    # The instrument sees what lives through the step: the graphs, where they are kept.
    assert peaks[8, True] > 2 * peaks[2, True]
