"""What does somebody want to see who pays for the run? Measured beside the loop, summed up when it logs.

Each step costs a few marks on a clock. Tokens and arithmetic are counted in one micro-batch of each source
between two records, which stands for the others; how the embeddings spread is looked at in the steps that
are logged. All of it travels in one all-reduce and one transfer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spectranet.config import Config
from spectranet.contracts import Batch
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.plan.gpus import gpu_named
from spectranet.train.distributed import World
from spectranet.train.watch.collapse import CollapseGuard, embedding_figures
from spectranet.train.watch.flops import FORWARD_AND_BACKWARD, decoder_flops, head_flops
from spectranet.train.watch.memory import disk_free_gib, memory_peak_gib
from spectranet.train.watch.moments import Moments
from spectranet.train.watch.tokens import TokenCount

__all__ = ["Watch", "is_logged", "peak_flops"]

BatchesT = TypeVar("BatchesT", bound=Sequence[Batch])


def is_logged(done: int, config: Config) -> bool:
    """Whether there is a record after ``done`` steps."""
    return done % config.train.log_every == 0 or done in (1, config.train.steps)


class Watch:
    """Looks at every step from outside: at what the model is called with, and when."""

    def __init__(self, config: Config, parts: Parts, model: SpectraNet, world: World) -> None:
        self._config, self._model, self._world = config, model, world
        self._peak = peak_flops(config, world.device)
        self._terms = frozenset(t for o in model.objectives.values() for t in o.terms)  # type: ignore[union-attr]
        self._widths = {name: int(encoder.width) for name, encoder in model.encoders.items()}  # type: ignore[arg-type]
        self._tokens = TokenCount(config, parts.modalities)
        self._moments = Moments(world.device)
        self._sources = sorted(config.data.sources)
        self._micro_batches = dict.fromkeys(self._sources, 0.0)
        self._looked: dict[str, tuple[list[float], float]] = {}
        self._decoder_flops: dict[str, Tensor] = {}
        self._decoder_looks_at = ""
        self._waited_s = self._paused_s = 0.0
        self._embeddings: dict[str, Tensor] = {}
        self._in_passes = self._closely = False
        self._steps = 0
        self._guard = CollapseGuard()
        self._began = time.perf_counter()
        model.register_forward_pre_hook(self._before_model, prepend=True)
        model.decoder.register_forward_pre_hook(self._before_decoder)

    def steps(self, stream: Iterable[BatchesT], start: int) -> Iterator[tuple[int, BatchesT]]:
        """(step, batches) from step ``start`` on; how long each is waited for is kept."""
        self._began = asked = time.perf_counter()
        for step, batches in enumerate(stream, start):
            self._waited_s += time.perf_counter() - asked
            self._closely, self._in_passes = is_logged(step + 1, self._config), True
            yield step, batches
            asked = time.perf_counter()

    def saw(self, batches: Sequence[Batch]) -> None:
        """Their passes are over."""
        self._moments.mark("")
        self._in_passes = False
        self._steps += 1
        for batch in batches:
            self._micro_batches[batch.source] += 1
            if batch.source not in self._looked:
                counts, flops = self._tokens.look(batch)
                self._looked[batch.source] = counts, flops + head_flops(self._model, batch)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What happens in here is no training."""
        began = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - began

    def figures(self) -> dict[str, float]:
        """Of the steps since the last call, over all ranks; a collective call.

        On a GPU the last step must have been waited for, as its clipped gradient's norm is.
        """
        now, steps = time.perf_counter(), max(1, self._steps)
        seconds = max(1e-9, now - self._began - self._paused_s)
        found = self._over_ranks(seconds)
        each_s = found["flops"][0] / seconds / self._world.size
        figures = {
            "samples_per_s": self._config.train.global_batch * steps / seconds,
            "seconds_per_step": seconds / steps,
            "data_wait_share": sum(found["waited"]) / self._world.size,
            "data_wait_share_worst": max(found["waited"]),
            "tflops_per_device": each_s / 1e12,
            "memory_peak_gib": max(found["memory"]),
            "disk_free_gib": disk_free_gib(Path(self._config.run_dir)),
            **self._tokens.figures(found["tokens"], steps),
            **dict(zip(self._embeddings, found["embeddings"], strict=True)),
        }
        figures["tokens_per_s"] = figures["tokens_per_step"] * steps / seconds
        if self._peak:
            figures["mfu"] = each_s / self._peak
        for source, busy_s, number in zip(self._sources, found["busy"], found["count"], strict=True):
            if number:
                figures[f"source/{source}/seconds_per_micro_batch"] = busy_s / number
                figures[f"source/{source}/time_share"] = busy_s / seconds / self._world.size
        self._forget(now)
        return figures

    def warnings(self, figures: Mapping[str, float]) -> list[str]:
        """What a record should alarm about."""
        return self._guard.warnings(figures)

    def _over_ranks(self, seconds: float) -> dict[str, list[float]]:
        """What was summed up here and on all other ranks: one all-reduce, one transfer."""
        self._moments.settle()
        spent, count = self._moments.seconds(), self._micro_batches
        counts = [[count[source] * n for n in each] for source, (each, _) in self._looked.items()]
        flops = sum(count[source] * each for source, (_, each) in self._looked.items())
        mine = {
            "tokens": [sum(each) for each in zip([0.0] * len(self._tokens.keys), *counts, strict=True)],
            "busy": [spent.get(source, 0.0) for source in self._sources],
            "count": [count[source] for source in self._sources],
            "waited": self._in_own_place(self._waited_s / seconds),
            "memory": self._in_own_place(memory_peak_gib(self._world.device)),
            "flops": [flops * FORWARD_AND_BACKWARD],
        }
        summed = torch.tensor([*chain(*mine.values())], dtype=torch.float64).to(self._world.device)
        for source, each_flops in self._decoder_flops.items():
            summed[-1] += each_flops * (count[source] * FORWARD_AND_BACKWARD)
        alike = [value.double().reshape(1) for value in self._embeddings.values()]  # on all ranks
        values = iter(torch.cat([self._world.sum(summed), *alike]).tolist())
        found = {name: [*islice(values, len(each))] for name, each in mine.items()}
        return found | {"embeddings": [*values]}

    def _in_own_place(self, value: float) -> list[float]:
        """A sum over the ranks of such lists has every rank's value."""
        return [value if rank == self._world.rank else 0.0 for rank in range(self._world.size)]

    def _forget(self, now: float) -> None:
        self._began, self._paused_s, self._waited_s = now, 0.0, 0.0
        self._looked, self._decoder_flops = {}, {}
        self._micro_batches = dict.fromkeys(self._sources, 0.0)
        self._embeddings, self._steps = {}, 0

    def _before_model(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        if not self._in_passes:
            return  # an evaluation
        batch = next((each for each in args if isinstance(each, Batch)), None)
        source = "" if batch is None else batch.source
        self._moments.mark(source or "global batch")
        self._decoder_looks_at = source if source not in self._decoder_flops else ""
        if self._closely and args[0] == "global":
            self._embeddings = embedding_figures(args[1], self._terms)

    def _before_decoder(self, decoder: nn.Module, args: tuple[Any, ...]) -> None:
        if self._in_passes and self._decoder_looks_at:
            with torch.no_grad():
                found = decoder_flops(self._config.model.decoder, self._widths, *args)
            self._decoder_flops[self._decoder_looks_at] = found


def peak_flops(config: Config, device: torch.device) -> float | None:
    """FLOPs a second that the device could do at best; None where nobody knows.

    ``train.peak_tflops``, or what the maker promises of the GPU at the run's precision.
    """
    if config.train.peak_tflops:
        return config.train.peak_tflops * 1e12
    gpu = gpu_named(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return gpu.flops(config.train.precision) if gpu else None
