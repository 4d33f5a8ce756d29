"""What is trained: two small encoders and a decoder, on captioned pictures in tars and on sentences.

Two sources, so that some micro-batches lack a tower; some pictures are cut short, so that others take their
place; contrast and masked modelling, so that a step makes its two passes.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["CHECKPOINT_EVERY", "SLOT_SIZE", "arguments", "write_data"]

SLOT_SIZE = 12
"""Samples of a slot: 1, 2, 3 and 4 ranks divide them."""
CHECKPOINT_EVERY = 2
SHARDS = (9, 14, 11, 17)
SENTENCES = 40

_MODEL = (
    *("trunks.vit={image_size: 16, patch_size: 8, width: 32, layers: 1, heads: 2, mlp_hidden: 32}",),
    *("modalities.image={size: 16, patch_size: 8}", "objectives.contrastive.width=16"),
    *("modalities.text={max_tokens: 16, width: 32, layers: 1, heads: 2, mlp_hidden: 32}",),
    *("model.decoder={width: 32, layers: 1, heads: 2, mlp_hidden: 32}", "tasks.retrieval=null"),
)
_TRAIN = (
    *(f"train.global_batch={3 * SLOT_SIZE}", "train.slots=3", "train.micro_batch=null", "train.threads=1"),
    *("train.log_every=1", f"train.checkpoint.every={CHECKPOINT_EVERY}"),
    *("train.optimizer={lr_peak: 1.0e-3, warmup_steps: 4}", "data.failure_limit=1.0"),
)


def write_data(folder: Path) -> None:
    """Four shards of PNGs with captions, and a manifest of sentences."""
    rng = np.random.default_rng(4)
    (folder / "pictures").mkdir(parents=True)
    for shard, samples in enumerate(SHARDS):
        with tarfile.open(folder / "pictures" / f"{shard}.tar", "w") as tar:
            for i in range(samples):
                picture = _picture(rng)
                _add(tar, f"{i:03}.png", picture[: len(picture) // 3] if i % 9 == 3 else picture)
                _add(tar, f"{i:03}.txt", f"picture {i} of shard {shard}".encode())
    rows = [json.dumps({"key": f"s{i}", "text": f"sentence {i * i}, of many"}) for i in range(SENTENCES)]
    (folder / "sentences.jsonl").write_text("\n".join(rows) + "\n")


def arguments(data: Path, run_dir: Path, steps: int, *overrides: str) -> list[str]:
    """The command line after ``spectranet``."""
    return [
        *("train", "--plugins", "vision,text", "--config", "tiny", f"run_dir={run_dir}", *_MODEL, *_TRAIN),
        *(f"data.sources.pictures.path={data}/pictures/*.tar", "data.sources.pictures.weight=2"),
        *("data.sources.pictures.modalities=[image,text]", "data.sources.sentences.modalities=[text]"),
        *(f"data.sources.sentences.path={data}/sentences.jsonl", f"train.steps={steps}", *overrides),
    ]


def _picture(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
