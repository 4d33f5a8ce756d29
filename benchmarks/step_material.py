"""What the parts of ``step.py`` train: configurations, models and batches, of equal size for both sides.

Batches come from random pixels and ids, not from files: the loader has a benchmark of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spectranet.config import Config, load_config
from spectranet.contracts import Batch, Values
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, View, Viewer
from spectranet.data.ratios import hidden_ratios
from spectranet.model.build import Parts, select_parts
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import start_world
from spectranet.train.journal.journal import Journal
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import build_optimizer, fill_gradients
from spectranet.train.parallel.parallelize import build_sharded
from spectranet.train.watch.gradient_norms import GradientNorms

__all__ = ["CLIP_NORM", "TEXT_TOKENS", "VOCABULARY", "Setting", "Trainer", "clip", "pairs", "tiny"]

TEXT_TOKENS, VOCABULARY = 77, 49408
"""Of CLIP's text tower (Radford et al. 2021)."""
CLIP_NORM = 1.0


@dataclass(frozen=True)
class Setting:
    config: Config
    parts: Parts

    @classmethod
    def of(cls, configs: Sequence[str], options: Sequence[str]) -> Setting:
        """As a user would type it."""
        resolved = load_config(configs, options)
        host = resolved.host
        return cls(resolved.config, select_parts(resolved.config, host.modalities, host.objectives))


def clip(layers: int, *options: str) -> Setting:
    """The towers of open_clip's ViT-B-32 with fewer blocks, contrast and nothing else."""
    return Setting.of(
        [],
        [
            "plugins=[vision,text]",
            "data.sources.pairs.modalities=[image,text]",
            "data.sources.pairs.path=unused.jsonl",
            f"trunks.vit={{patch_size: 32, width: 768, layers: {layers}, heads: 12, mlp_hidden: 3072}}",
            "modalities.image={patch_size: 32, pool: class}",
            f"modalities.text={{tokenizer: unused.model, vocab_size: {VOCABULARY}, "
            f"max_tokens: {TEXT_TOKENS}, "
            f"width: 512, layers: {layers}, heads: 8, mlp_hidden: 2048, pool: first}}",
            "objectives.contrastive={width: 512}",
            *options,
        ],
    )


def tiny(*options: str) -> tuple[Setting, list[Batch]]:
    """The preset ``tiny`` without contrast, and a batch of 32 of each of three sources."""
    sources = {"image-text": "[image,text]", "audio-text": "[audio,text]", "video-text": "[text,video]"}
    data = [f"data.sources.{name}.modalities={modalities}" for name, modalities in sources.items()]
    data += [f"data.sources.{name}.path=unused.jsonl" for name in sources]
    chosen = ["objectives.contrastive=null", "objectives.captioning={}", "tasks.retrieval=null"]
    setting = Setting.of(["tiny"], [*chosen, *data, *options])
    return setting, [_examples(setting, source, 32) for source in sources]


def pairs(setting: Setting, size: int, first: int = 0) -> Batch:
    """Random pictures, each with a text of the full length."""
    images, texts = setting.config.modalities["image"], setting.config.modalities["text"]
    ratios = hidden_ratios(setting.config, setting.parts.modalities)
    rng = np.random.default_rng(first)
    side, grid = images.size, images.size // images.patch_size
    cells_NP = np.indices((grid, grid), dtype=np.int32).reshape(2, -1).T.copy()
    places_NP = np.arange(texts.max_tokens, dtype=np.int32)[:, None]
    samples = []
    for index in range(first, first + size):
        ids = rng.integers(8, VOCABULARY - 1, texts.max_tokens)
        ids[-1] = VOCABULARY - 1  # the end, by which open_clip knows where a text's vector stands
        values = {
            "image": Values(
                {"pixels": rng.integers(0, 256, (3, side, side), dtype=np.uint8)},
                cells_NP,
                _timeless(cells_NP),
            ),
            "text": Values({"ids": ids}, places_NP, _timeless(places_NP)),
        }
        views = {
            name: View(
                one, index, setting.parts.modalities[name].sample_mask(one, ratios.get(name, 0.0), rng)
            )
            for name, one in values.items()
        }
        samples.append(Sample(str(index), views))
    return collate(samples, setting.parts.modalities, source="pairs", ids=range(first, first + size))


def _timeless(position_NP: np.ndarray) -> np.ndarray:
    return np.full(len(position_NP), -1, dtype=np.int32)


def _examples(setting: Setting, source: str, size: int) -> Batch:
    """The modalities' own examples, through their real decoders, transforms and masks."""
    config, modalities = setting.config, setting.parts.modalities
    names = sorted(config.data.sources[source].modalities)
    viewers = {n: Viewer.of(modalities[n], config.modalities[n], train=True, ratio=0.15) for n in names}
    rng = np.random.default_rng(0)
    samples = [
        Sample(str(i), {n: viewers[n].view(modalities[n].example(rng), (i, n)) for n in names})
        for i in range(size)
    ]
    return collate(samples, modalities, source=source, ids=range(size))


class Trainer:
    """Our step as ``spectranet train`` makes it, on batches that are at hand."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        config = setting.config
        self.world = start_world("cpu", torch.get_num_threads())
        self.model: SpectraNet = build_sharded(config, setting.parts, self.world)
        self.optimizer = build_optimizer(self.model, config.train.optimizer)
        coefficients = dict.fromkeys(setting.parts.objectives, 1.0)
        self.passes = ObjectivePass(self.model, self.world, coefficients, config.train.keep_encoded)
        self.norms = GradientNorms(self.model, self.world)
        self.journal = Journal(folder, 1000, 0, self.world)

    def step(self, batches: Sequence[Batch]) -> Callable[[], None]:
        def run() -> None:
            losses = self.passes(batches)
            self.update()
            self.journal.record(1, losses.reduce(self.world, self.passes.term_coefficients))

        return run

    def update(self) -> None:
        fill_gradients(self.norms.parameters)
        self.norms.clip(CLIP_NORM)
        self.optimizer.step()
        self.model.after_step()
        self.optimizer.zero_grad()
