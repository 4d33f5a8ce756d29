"""What one GPU reaches: useful tokens a second, MFU and peak memory, compiled and not, beside the plan.

    python benchmarks/gpu.py                                     # the preset large in bf16, on one GPU
    python benchmarks/gpu.py --quick --device cpu --preset tiny  # the same way on a CPU, within 45 s

It plans the run, takes the setting that the plan calls the best, and trains with ``spectranet train`` on
pictures and texts made up here, each as large as its options allow: nothing is padded. What is shown is what
the run wrote of itself: ``tokens_per_s`` counts valid tokens of the samples, once; ``mfu`` forward and
backward once, without what checkpointing and the first pass of the contrast compute again, against the
dense peak of the device (989 TFLOP/s in bf16 for H100 and H200). Loader, clipping, update and log are in it.
``gpu.planner_error`` is by which share of the measured peak the predicted one is above it, uncompiled, before
the plan's margin; ``gpu.planner_time_error`` is the same of a step's time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from interleaved import figure
from PIL import Image

from spectranet.config import Config, Resolved, load_config
from spectranet.plan.estimate import Assumed
from spectranet.plan.gpus import GPUS, Gpu, find_gpu
from spectranet.plan.plan import make_plan

GIB = 2**30
SAMPLES = 256


@dataclass(frozen=True)
class Measured:
    """Medians over the records of a run that come after the warm-up, and what was predicted."""

    step_s: float
    tokens_per_s: float
    mfu: float
    peak_gib: float
    data_wait_share: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps, and uncompiled only")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: cuda where torch sees a GPU")
    parser.add_argument("--preset", help="default: large on a GPU, tiny on a CPU")
    parser.add_argument("--gpu", choices=GPUS, help="what to plan for; default: what the driver says")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as train.global_batch=256")
    options = parser.parse_args()
    device, gpu = find_device(options.device, options.gpu)
    preset = options.preset or ("large" if device == "cuda" else "tiny")
    with tempfile.TemporaryDirectory() as folder:
        resolved = configure(preset, device, Path(folder) / "pairs", options.overrides)
        make_pairs(Path(folder) / "pairs", resolved.config)
        plan = make_plan(resolved, gpu, 1, Assumed())
        if plan.best is None:
            sys.exit(f"{preset} does not fit {gpu.name}:  spectranet plan --config {preset} --gpu {gpu.name}")
        best, parameters = plan.best, sum(plan.parameters.values())
        print(
            f"\n{preset}, {parameters / 1e9:.3g} B parameters,"
            f" {resolved.config.train.precision}, on {gpu.name}"
        )
        print(f"  the plan's best: {best.setting.overrides()}")
        heading = ("s a step", "tokens/s", "MFU", "peak GiB", "waits for data")
        print(f"  {'':<12}" + "".join(f"{each:>15}" for each in heading))
        show("planned", Measured(best.step_s, 0.0, plan.mfu(best), best.peak_bytes / GIB, 0.0))
        found = {}
        for compiled in (False,) if options.quick else (False, True):
            words = [*arguments(resolved, gpu, folder, compiled), *best.setting.overrides().split()]
            found[compiled] = train_a_little(words, Path(folder), *((2, 2) if options.quick else (10, 5)))
            show("compiled" if compiled else "uncompiled", found[compiled])
    fastest = max(found.values(), key=lambda one: one.tokens_per_s)
    figure("gpu.mfu", fastest.mfu, "")
    figure("gpu.tokens_per_s", fastest.tokens_per_s, "1/s")
    figure("gpu.peak_gib", fastest.peak_gib, "GiB")
    if device == "cuda":  # of a CPU's process only the peak of the whole is known, libraries and all
        figure("gpu.planner_error", best.peak_bytes / GIB / found[False].peak_gib - 1, "")
    figure("gpu.planner_time_error", best.step_s / found[False].step_s - 1, "")


def find_device(asked: str | None, gpu: str | None) -> tuple[str, Gpu]:
    """Asked in a process of its own: plans are rehearsed in forks, and CUDA, once begun, does not fork."""
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    name = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True
    ).stdout.strip()
    device = asked or ("cuda" if name else "cpu")
    if device == "cuda" and not name:
        sys.exit("torch sees no GPU here; on a CPU:  --device cpu --preset tiny")
    if gpu is not None or device == "cpu":
        return device, find_gpu(gpu or "cpu")
    from spectranet.plan.gpus import gpu_named

    known = gpu_named(name)
    if known is None:
        sys.exit(f"nobody has told the plan about '{name}'; plan for its like:  --gpu {'|'.join(GPUS)}")
    return device, known


def configure(preset: str, device: str, data: Path, overrides: list[str]) -> Resolved:
    """Pairs of a picture and a text; the global batch is small enough for steps of seconds."""
    batch = {
        "cuda": ["train.global_batch=512", "train.slots=4"],
        "cpu": ["train.global_batch=8", "train.slots=1", "train.threads=1"],
    }
    data.mkdir()
    chosen = [
        f"data.sources={{image-text: {{path: '{data}', modalities: [image, text]}}}}",
        *batch[device],
        "tasks.retrieval=null",
        f"train.device={device}",
        *overrides,
    ]
    return load_config([preset], chosen, ["vision", "text"])


def make_pairs(folder: Path, config: Config) -> None:
    """Noise is the dearest picture to decode; texts are cut at ``max_tokens``."""
    rng = np.random.default_rng(0)
    side, longest = config.modalities["image"].size, config.modalities["text"].max_tokens
    for number in range(SAMPLES):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg")
        letters = rng.choice(list("etaoin shrdlu"), 2 * longest)
        (folder / f"{number:03}.txt").write_text("".join(letters))


def arguments(resolved: Resolved, gpu: Gpu, folder: str, compiled: bool) -> list[str]:
    """The run's configuration as a file, since it was made of more than words."""
    peak = f"train.peak_tflops={gpu.flops(resolved.config.train.precision) / 1e12}"
    name = "compiled" if compiled else "uncompiled"
    file = Path(folder) / f"{name}.yaml"
    file.write_text(resolved.to_yaml())
    last = ["train.checkpoint.every=1000000", "train.steps=1000000", "train.log_every=2", peak]
    return [
        "--config",
        str(file),
        f"run_dir={folder}/{name}",
        f"train.compile={str(compiled).lower()}",
        *last,
    ]


def train_a_little(words: list[str], folder: Path, warm_up: int, records: int) -> Measured:
    """Ended, unsaved, when there are enough records: the last step of a run would write a checkpoint."""
    log = Path(next(word for word in words if word.startswith("run_dir=")).removeprefix("run_dir="))
    said = (folder / "said.txt").open("w+")
    run = subprocess.Popen(
        [sys.executable, "-m", "spectranet", "train", *words],
        stdout=said,
        stderr=subprocess.STDOUT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    try:
        while len(found := read_records(log / "metrics.jsonl", warm_up)) < records:
            if run.poll() is not None:
                said.seek(0)
                sys.exit(f"spectranet train {' '.join(words)}\nended with {run.returncode}:\n{said.read()}")
            time.sleep(0.2)
    finally:
        run.kill()
        run.wait()
    names = ("seconds_per_step", "tokens_per_s", "mfu", "memory_peak_gib", "data_wait_share")
    return Measured(*(statistics.median(record[name] for record in found) for name in names))


def read_records(file: Path, after: int) -> list[dict[str, float]]:
    if not file.exists():
        return []
    lines = [line for line in file.read_text().split("\n")[:-1] if line]  # the last may be half written
    return [record for record in map(json.loads, lines) if record["step"] > after and "mfu" in record]


def show(name: str, one: Measured) -> None:
    tokens = f"{one.tokens_per_s:,.0f}" if one.tokens_per_s else ""
    measures = f"{one.step_s:>15.3f}{tokens:>15}{one.mfu:>15.1%}{one.peak_gib:>15.2f}"
    print(f"  {name:<12}{measures}{one.data_wait_share:>15.1%}", flush=True)


if __name__ == "__main__":
    main()
