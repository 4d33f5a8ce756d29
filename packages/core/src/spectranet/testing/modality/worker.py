"""What comes of a sample in another process? In a spawned one, as workers are where there is no fork."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from spectranet.contracts import Modality
from spectranet.testing.clause import BrokenClauseError

__all__ = ["parts_for_workers", "prepared_elsewhere", "prepared_here"]


def parts_for_workers(modality: Modality, config: Any) -> dict[str, Any]:
    """What a loader sends to its workers, and the fingerprint, which curation sends to its own."""
    return {
        "decode": modality.decode,
        "training transform": modality.build_transform(config, True),
        "evaluation transform": modality.build_transform(config, False),
        "sample_mask": modality.sample_mask,
        "collate": modality.collate,
        "fingerprint": modality.fingerprint,
    }


def prepared_here(parts: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """Values of one example in training and evaluation, a mask and the fingerprint."""
    raw = parts["decode"](content)
    train, evaluation = (
        parts[f"{which} transform"](raw, np.random.default_rng(5)) for which in ("training", "evaluation")
    )
    return {
        "train": train,
        "evaluation": evaluation,
        "mask": parts["sample_mask"](train, 0.5, np.random.default_rng(6)),
        "collated": {name: tensor.numpy() for name, tensor in parts["collate"]([train.data]).items()},
        "fingerprint": parts["fingerprint"](parts["decode"](content)),
    }


def prepared_elsewhere(parts: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """:func:`prepared_here` in a spawned process.

    Raises:
        BrokenClauseError: a part cannot be pickled, or not be read there; names it.
    """
    pickled = {name: _pickled(name, part) for name, part in parts.items()}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcome, told = pool.submit(_in_worker, pickled, content).result()
    if outcome is None:
        raise BrokenClauseError(told)
    return outcome


def _pickled(name: str, part: Callable[..., Any]) -> bytes:
    try:
        return pickle.dumps(part)
    except Exception as error:
        raise BrokenClauseError(f"{name} does not pickle: {type(error).__name__}: {error}") from error


def _in_worker(pickled: Mapping[str, bytes], content: bytes) -> tuple[dict[str, Any] | None, str]:
    """The outcome, or None and why there is none: exceptions need not pickle."""
    parts = {}
    for name, part in pickled.items():
        try:
            parts[name] = pickle.loads(part)
        except Exception as error:
            return None, f"{name} cannot be unpickled in a spawned process: {type(error).__name__}: {error}"
    try:
        return prepared_here(parts, content), ""
    except Exception as error:
        return None, f"in a spawned process: {type(error).__name__}: {error}"
