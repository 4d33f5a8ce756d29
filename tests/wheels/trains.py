"""What is installed trains for two steps on its own examples: ``trains.py WHEELS [PLUGIN …]``.

Run by ``nox -s wheels``, with the sources out of sight. A modality or an objective alone trains beside the
plugin of tests/compatibility, which brings what it lacks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 8
ENCODER = {"width": 32, "layers": 1, "heads": 2, "mlp_hidden": 32}
SMALL: dict[str, dict[str, Any]] = {
    "image": {"size": 32},
    "video": {"size": 16, "frames": 4},
    "audio": ENCODER | {"max_seconds": 0.5, "conv_dim": [8], "num_conv_pos_embedding_groups": 4},
    "text": ENCODER | {"max_tokens": 24},
    "tide": {},
}


def main(_: str, *named: str) -> None:
    offered = {point.name: point for point in entry_points(group="spectranet.plugins.v1")}
    plugins = sorted(named or offered)
    modalities = {}
    for name in plugins:
        plugin = offered[name].load()
        if hasattr(plugin, "spectranet_modalities"):
            modalities |= {each.name: each for each in plugin.spectranet_modalities()}
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        write_samples(here / "samples", modalities)
        (here / "small.yaml").write_text(json.dumps(configuration(here, plugins, sorted(modalities))))
        command = ["train", "--plugins", ",".join(plugins), "--config", str(here / "small.yaml")]
        words = [str(Path(sys.executable).with_name("spectranet")), *command, f"run_dir={here / 'run'}"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}\n{done.stderr}"
        records = [json.loads(line) for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
        (last,) = [record for record in records if record["step"] == 2 and "loss" in record]
        assert len(list((here / "run" / "checkpoints").glob("step-*2"))) == 1
    losses = sorted(name.removeprefix("loss/") for name in last if name.startswith("loss/"))
    print(f"{', '.join(plugins)}: two steps on {', '.join(sorted(modalities))}; {', '.join(losses)}")


def write_samples(folder: Path, modalities: dict[str, Any]) -> None:
    """Files of one stem are one sample."""
    folder.mkdir()
    for number in range(SAMPLES):
        for name, modality in sorted(modalities.items()):
            content = modality.example(np.random.default_rng((number, len(name))))
            (folder / f"{number:03}.{modality.fields[0]}").write_bytes(content)


def configuration(here: Path, plugins: list[str], modalities: list[str]) -> dict[str, Any]:
    objectives: dict[str, Any] = {}
    if "objectives" in plugins:
        objectives |= {"mmm": {}, "contrastive": {"width": 16}, "temporal": {"width": 16}}
        objectives |= {"captioning": {}} if "text" in modalities else {}
    if "tides" in plugins:
        objectives |= {"guess": {}, "align": {}}
    trunks = {"vit": {**ENCODER, "image_size": 32}} if "image" in modalities else {}
    return {
        "trunks": trunks,
        "modalities": {name: SMALL[name] for name in modalities},
        "model": {"decoder": ENCODER},
        "objective_plugins": [name for name in plugins if name in ("objectives", "tides")],
        "objectives": objectives,
        "data": {
            "workers": 0,
            "sources": {"examples": {"path": str(here / "samples"), "modalities": modalities, "weight": 1}},
        },
        "train": {
            "steps": 2, "global_batch": 4, "slots": 1, "micro_batch": None, "threads": 1, "log_every": 1,
            "optimizer": {"warmup_steps": 1},
        },
    }  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
