"""Runs training streams piece by piece, under any topology, and says what each step held."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from spectranet import Batch, Modality, Reader
from spectranet.config import Config
from spectranet.data.loader import TrainStream

Step = dict[int, tuple[str, str, str]]
"""Number in the global batch -> (source, key, digest of everything that the model sees)."""


@dataclass(frozen=True)
class Topology:
    """How a global batch is cut, and who prepares it."""

    ranks: int = 1
    micro_batch: int | None = None
    workers: int = 0
    threads: int = 1
    prefetch: int = 2


def steps_of(
    config: Config,
    modalities: Mapping[str, Modality],
    readers: Sequence[Reader],
    topology: Topology,
    start: int,
    stop: int,
) -> list[Step]:
    """The global batches of steps ``start`` to ``stop - 1``: a run that goes on, and is stopped."""
    loading = {"workers": topology.workers, "threads": topology.threads, "prefetch": topology.prefetch}
    config = replace(
        config,
        data=replace(config.data, **loading),
        train=replace(config.train, micro_batch=topology.micro_batch),
    )
    ratios = dict.fromkeys(modalities, 0.4)
    streams = [
        TrainStream(config, modalities, readers, ratios, start_step=start, rank=rank, ranks=topology.ranks)
        for rank in range(topology.ranks)
    ]
    try:
        iterators = [iter(stream) for stream in streams]
        return [_together([next(each) for each in iterators]) for _ in range(start, stop)]
    finally:
        for stream in streams:
            stream.close()


def _together(of_ranks: Sequence[Sequence[Batch]]) -> Step:
    step: Step = {}
    for batches in of_ranks:
        for batch in batches:
            for i, number in enumerate(batch.ids_B.tolist()):
                assert number not in step, f"sample {number} of the batch comes twice"
                step[number] = (batch.source, batch.keys[i], _digest(batch, i))
    return dict(sorted(step.items()))


def _digest(batch: Batch, i: int) -> str:
    """Of all tensors of sample ``i``, without the padding that its neighbours make necessary."""
    digest = hashlib.blake2b(digest_size=16)
    for name, one in sorted(batch.modalities.items()):
        valid = one.valid_BN[i]
        tensors = [
            one.position_BNP[i][valid],
            one.segment_BN[i][valid],
            one.visible_BV[i][one.visible_valid_BV[i]],
            one.hidden_BH[i][one.hidden_valid_BH[i]],
            one.content_B[i],
            *(_without_padding(tensor[i]) for _, tensor in sorted(one.data.items())),
        ]
        digest.update(repr((name, sorted(one.data), [tuple(each.shape) for each in tensors])).encode())
        for each in tensors:
            digest.update(each.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _without_padding(tensor: torch.Tensor) -> torch.Tensor:
    """Cut to the box that holds all that is not 0."""
    if tensor.ndim and (used := tensor.nonzero()).numel():
        return tensor[tuple(slice(0, int(last) + 1) for last in used.amax(0))]
    return tensor.flatten()[:1]
