"""Our loader as a user has it: the configuration, and a stream over all steps of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spectranet.config import Config, load_config
from spectranet.contracts import Modality, Reader
from spectranet.data.loader import TrainStream
from spectranet.data.pipeline import Viewer
from spectranet.model.build import select_parts

__all__ = ["Ours"]


@dataclass(frozen=True)
class Ours:
    """A source of one kind of data with its captions, at the default share of hidden tokens."""

    config: Config
    modalities: dict[str, Modality]
    readers: Sequence[Reader]

    @classmethod
    def of(cls, modality: str, path: str, samples: int, batch: int, options: Sequence[str] = ()) -> Ours:
        """One epoch of ``samples``, in batches; ``options`` are what a user would type."""
        resolved = load_config(
            ["base"],
            [
                f"data.sources.shards.path={path}",
                f"data.sources.shards.modalities=[{modality},text]",
                f"train.steps={samples // batch}",
                f"train.global_batch={batch}",
                "train.slots=1",
                "train.checkpoint.every=1",
                *options,
            ],
        )
        parts = select_parts(resolved.config, resolved.host.modalities, resolved.host.objectives)
        return cls(resolved.config, dict(parts.modalities), tuple(resolved.host.readers.values()))

    @property
    def ratios(self) -> dict[str, float]:
        return {name: modality.mask_ratio for name, modality in self.modalities.items()}

    def stream(self, start_step: int = 0) -> TrainStream:
        return TrainStream(self.config, self.modalities, self.readers, self.ratios, start_step=start_step)

    def viewers(self) -> dict[str, Viewer]:
        """What prepares each modality of a sample."""
        configs = self.config.modalities
        return {
            name: Viewer.of(modality, configs[name], train=True, ratio=self.ratios[name])
            for name, modality in self.modalities.items()
        }

    def read_all(self) -> None:
        """Every batch of the epoch; the workers have ended when this returns."""
        for _ in self.stream():
            pass
