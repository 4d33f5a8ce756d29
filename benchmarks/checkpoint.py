"""What does a checkpoint cost, against the plainest way to get the same bytes onto the disk?

``checkpoint.verified_save_vs_raw``: wall time of our save (copy, header, write, SHA-256, fsync, manifest,
rename) over that of ``safetensors.torch.save_file`` and fsync of the same tensors; interleaved.
``checkpoint.cpu_vs_raw``: the same of process CPU time. SHA-256 is real work, so this is above 1.
``checkpoint.step_blocked_share``: how long the step waits for a save that is written by the next steps,
over how long it waits for one that is written at once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from interleaved import Timing, figure, measure
from safetensors.torch import save_file
from torch import nn

from spectranet.config.schema import CheckpointConfig, OptimizerConfig
from spectranet.train.checkpoint import Saver, verify_checkpoint
from spectranet.train.checkpoint.shards import state_of
from spectranet.train.distributed import World, start_world
from spectranet.train.optimizer import build_optimizer

_MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 s on two cores")
    parser.add_argument("--folder", type=Path, help="where to write; the disk to measure")
    options = parser.parse_args()
    mib, rounds = (192, 5) if options.quick else (512, 11)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        compare(folder, mib, rounds, budget_s=20 if options.quick else 300)
    finally:
        shutil.rmtree(folder)


def compare(folder: Path, mib: int, rounds: int, budget_s: float) -> None:
    """Both figures, of a model whose weights and moments take ``mib`` MiB."""
    world = start_world("cpu", 1)
    model = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(mib // 12)))
    optimizer = build_optimizer(model, OptimizerConfig())
    tensors = state_of(model, optimizer)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    cpu: dict[str, list[float]] = {"ours": [], "raw": []}

    def timed(name: str, save: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            start_s = time.process_time()
            save()
            cpu[name].append(time.process_time() - start_s)

        return run

    sides = {
        "ours": timed("ours", OurSave(folder / "ours", world, model, optimizer, asynchronous=False).wait_for),
        "raw": timed("raw", lambda: _raw(folder / "raw.safetensors", tensors)),
    }
    wall = measure(sides, rounds, budget_s, clock=time.perf_counter)
    verify_checkpoint(max((folder / "ours").iterdir()))
    print(f"\nA state of {size / _MIB:.0f} MiB, one rank, on {folder.parent}")
    for name, timing in wall.items():
        spent = Timing(tuple(cpu[name][1:]))
        print(
            f"  {name:<12} {timing.median * 1e3:8.0f} ms wall (min {min(timing.seconds) * 1e3:.0f}, max "
            f"{max(timing.seconds) * 1e3:.0f}), {spent.median * 1e3:.0f} ms CPU, {len(timing.seconds)} rounds"
        )
    figure("checkpoint.verified_save_vs_raw", wall["ours"].ratio_to(wall["raw"]), "x")
    warm = {name: Timing(tuple(seconds[1:])) for name, seconds in cpu.items()}
    figure("checkpoint.cpu_vs_raw", warm["ours"].ratio_to(warm["raw"]), "x")

    at_once = OurSave(folder / "at_once", world, model, optimizer, asynchronous=False)
    aside = OurSave(folder / "aside", world, model, optimizer, asynchronous=True)
    blocked: dict[str, list[float]] = {"at once": [], "aside": []}
    for _ in range(max(3, rounds // 2) + 1):
        blocked["at once"].append(at_once.wait_for())
        blocked["aside"].append(aside.begin())
        aside.saver.wait()
    print("\nHow long the step is blocked")
    for name, seconds in blocked.items():
        print(f"  {name:<12} {statistics.median(seconds[1:]) * 1e3:8.1f} ms wall")
    pairs = zip(blocked["aside"][1:], blocked["at once"][1:], strict=True)
    figure("checkpoint.step_blocked_share", statistics.median(a / b for a, b in pairs), "x")


class OurSave:
    """Saves the same state again and again, as the steps of a run; keeps one."""

    def __init__(
        self,
        folder: Path,
        world: World,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        asynchronous: bool,
    ) -> None:
        self.saver = Saver(folder, CheckpointConfig(keep_last=1, asynchronous=asynchronous), world)
        self._state = model, optimizer
        self._step = 0

    def begin(self) -> float:
        """Seconds until the step may go on."""
        start_s = time.perf_counter()
        self._step += 1
        self.saver.begin(self._step, *self._state, {})
        return time.perf_counter() - start_s

    def wait_for(self) -> float:
        """Seconds until the checkpoint is safe."""
        start_s = time.perf_counter()
        self.begin()
        self.saver.wait()
        return time.perf_counter() - start_s


def _raw(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path.unlink(missing_ok=True)
    save_file(tensors, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
