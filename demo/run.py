"""``make demo``: sample data, a tokenizer, a training run, and what it learned, into runs/demo/.

    python demo/run.py [KEY=VALUE ...]      (overrides for the training run)

Each step is the command a user would type, and is printed before it runs. What is there already is
kept, so a second call measures again instead of training again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from write_shards import write_data

ROOT = Path(__file__).parents[1]
RUN = Path("runs/demo")
DIRECTIONS = (
    ("image-text", "text", "image"),
    ("image-text", "image", "text"),
    ("audio-text", "text", "audio"),
    ("audio-text", "audio", "text"),
    ("video-text", "text", "video"),
    ("video-text", "video", "text"),
)
console = Console()


def main(overrides: list[str]) -> int:
    os.chdir(ROOT)
    began = time.monotonic()
    RUN.mkdir(parents=True, exist_ok=True)
    console.print(
        "[bold]1  data[/]  scenes of shapes and tones as JPEG, MP4 with sound, WAV and text, in tars"
    )
    new = write_data(RUN / "data")
    if new:
        forget_model()
    tokenizer = RUN / "tokenizer.model"
    if new or not tokenizer.exists():
        console.print("[bold]2  tokenizer[/]")
        tars = sorted(map(str, (RUN / "data" / "train").glob("*/*.tar")))
        spectranet("tokenizer", "train", "--vocab-size", "360", "--output", str(tokenizer), *tars)
    console.print("[bold]3  training[/]")
    plugins = ("--plugins", "vision,audio,text")
    spectranet("train", *plugins, "--config", "demo/demo.yaml", *overrides)
    console.print("[bold]4  held-out retrieval[/]")
    show(last_evaluation())
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    console.print(f"{minutes} min {seconds} s in all. Look at it, and go on:")
    console.print(f"  report      {RUN / 'report.html'}", highlight=False)
    console.print(f"  metrics     {RUN / 'metrics.jsonl'}", highlight=False)
    console.print(f"  checkpoint  {newest_checkpoint()}", highlight=False)
    console.print(f"  measure     .nox/demo/bin/spectranet eval {RUN}", highlight=False)
    console.print("  your data   README.md, “Train on your data”", highlight=False)
    return 0


def forget_model() -> None:
    """A model that an earlier demo trained on other data is not one to go on from."""
    shutil.rmtree(RUN / "checkpoints", ignore_errors=True)
    (RUN / "metrics.jsonl").unlink(missing_ok=True)


def spectranet(*words: str) -> None:
    """Run ``spectranet`` with this Python, its output on ours; its exit code ends the demo if not 0."""
    tars = [word for word in words if word.endswith(".tar")]
    shown = [word for word in words if word not in tars] + ([f"{RUN}/data/train/*/*.tar"] if tars else [])
    console.print(f"   $ spectranet {' '.join(shown)}", style="dim", highlight=False, soft_wrap=True)
    code = subprocess.run([sys.executable, "-m", "spectranet", *words]).returncode
    if code:
        sys.exit(code)


def last_evaluation() -> dict[str, float]:
    records = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    return next(r for r in reversed(records) if any(name.startswith("eval/") for name in r))


def show(figures: dict[str, float]) -> None:
    """The table. Its scenes pair words (shape and colour, timbre and pattern) as no training scene did."""
    table = Table("direction", "candidates", "R@1", "R@5", "chance", "R@1 / chance", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for source, a, b in DIRECTIONS:
        of = {k: figures[f"eval/{source}/{a}-{b}/{k}"] for k in ("candidates", "R@1", "R@5", "chance")}
        times = of["R@1"] / of["chance"]
        percent = (f"{of[k]:.1%}" for k in ("R@1", "R@5", "chance"))
        table.add_row(f"{a} → {b}", f"{of['candidates']:.0f}", *percent, f"{times:.0f} x")
    console.print(table)


def newest_checkpoint() -> Path:
    return max((RUN / "checkpoints").iterdir())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
