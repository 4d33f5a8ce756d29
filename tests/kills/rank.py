"""What one rank does: ``spectranet train``, with a note of every sample that its steps are given.

Forked from a process that has imported everything (:func:`forked_rank`), or started by torchrun as a script:
``torchrun tests/kills/rank.py TAKEN train …``.
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import spectranet_objectives
import spectranet_text
import spectranet_vision

__all__ = ["PRELOADED", "forked_rank"]

PRELOADED = (
    *(
        "spectranet.cli.train",
        "spectranet.train.set_up",
        "spectranet.tasks.gallery",
        "spectranet.config.show",
    ),
    *(
        "spectranet.data.tar",
        "spectranet.data.folder",
        "torch.distributed.checkpoint",
        "torch.distributed.fsdp",
    ),
    *(
        "torch.utils._sympy.reference",
        "torch.utils.tensorboard",
        "transformers",
        "numpy.ma",
        "numpy.ctypeslib",
    ),
    *("transformers.models.vit.modeling_vit", "transformers.models.bert.modeling_bert", "PIL.PngImagePlugin"),
    *(
        module.name
        for package in (spectranet_objectives, spectranet_text, spectranet_vision)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ),
)
"""What the process from which ranks are forked has imported: all that a rank would."""


def forked_rank(
    environment: Mapping[str, str], arguments: Sequence[str], told: Path, taken: Path
) -> NoReturn:
    """Be the process that torchrun would have started.

    Args:
        environment: RANK, WORLD_SIZE and the like.
        arguments: what follows ``spectranet``.
        told: file for what it prints.
        taken: see :func:`note_samples`.
    """
    os.setsid()
    os.environ.update(environment)
    output = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    train(taken, arguments)


def train(taken: Path, arguments: Sequence[str]) -> NoReturn:
    from spectranet.cli import main

    note_samples(taken.with_name(f"{taken.name}-rank-{os.environ['RANK']}.jsonl"))
    main(arguments)


def note_samples(path: Path) -> None:
    """Write down what every step is given, before it is given: a step that is killed may be noted in vain.

    A line of JSON a step: its number, and the samples of this rank, by their number in the global batch.
    """
    from spectranet.data.loader import TrainStream

    steps_of = TrainStream.__iter__

    def noting(stream: TrainStream) -> Iterator[list]:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for step, batches in enumerate(steps_of(stream), start=stream._steps.start):
            samples = {
                number: f"{batch.source}:{key}"
                for batch in batches
                for number, key in zip(batch.ids_B.tolist(), batch.keys, strict=True)
            }
            os.write(file, (json.dumps({"step": step, "samples": samples}) + "\n").encode())
            yield batches

    TrainStream.__iter__ = noting  # type: ignore[method-assign]


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2:])
