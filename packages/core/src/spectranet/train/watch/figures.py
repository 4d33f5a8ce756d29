"""What does each name in ``metrics.jsonl`` mean? ``docs/report.md`` has the same list; a test compares."""

from __future__ import annotations

import re

__all__ = ["FIGURES", "meaning"]

FIGURES = {
    "step": "steps that are done",
    "time": "seconds since 1970",
    "loss": "weighted sum of the terms",
    "loss/TERM": "one term of an objective, such as `mmm.image`",
    "metric/TERM/NAME": "what an objective measures beside a term, such as `scale` of the logits",
    "modality/NAME/loss": "weighted terms of a modality; a term of two counts half for either",
    "modality/NAME/tokens_per_step": "valid tokens of the global batch",
    "modality/NAME/token_share": "its part of all valid tokens",
    "modality/NAME/hidden_share": "its valid tokens that are hidden; the others are visible",
    "modality/NAME/padding_share": "its places that hold no token",
    "tokens_per_step": "valid tokens of all modalities",
    "padding_share": "places of all modalities that hold no token",
    "lr": "learning rate",
    "grad_norm": "norm of the gradient before it is clipped",
    "grad_norm/PART": "the same of `encoder.NAME`, `trunk.NAME`, `memory`, `decoder`, `objective.NAME`",
    "samples_per_s": "of all ranks; evaluations and the time that saving blocks do not count",
    "tokens_per_s": "valid tokens, of all ranks",
    "seconds_per_step": "mean since the last record",
    "data_wait_share": "time in which ranks waited for their loaders",
    "data_wait_share_worst": "of the rank that waited most",
    "source/NAME/seconds_per_micro_batch": "forward and backward, of a pass 1 too",
    "source/NAME/time_share": "its part of the time",
    "tflops_per_device": "useful arithmetic a second, in 10^12",
    "mfu": "that arithmetic as part of the device's peak, where the peak is known",
    "memory_peak_gib": "most that tensors took on a GPU, or a process on a CPU; of the rank that took most",
    "disk_free_gib": "free on the disk of the run's directory",
    "embedding/OBJECTIVE.ROWS/variance": "of unit vectors over the global batch: 1 spread out, 0 collapsed",
    "embedding/OBJECTIVE.ROWS/rank": "directions in use: participation ratio of at most 512 rows",
    "similarity/TERM/positive": "mean cosine of two modalities of one sample",
    "similarity/TERM/negative": "mean cosine of two modalities of different samples",
    "replaced_samples": "samples that could not be used, so far",
    "tried/NAME": "samples of a source that were tried, where one failed",
    "failed/NAME": "samples of a source that could not be used",
    "skipped_steps": "steps whose update was left out, since loss or gradient was not finite",
    "rolled_back_to": "step of the checkpoint whose weights and optimizer came back",
    "eval/FIGURE": "what a task measured on held-out data",
}
"""Name -> meaning; words in capitals stand for what a run calls it."""

_PATTERNS = {re.compile(re.sub(r"[A-Z]{2,}", ".+", re.escape(name))): text for name, text in FIGURES.items()}


def meaning(name: str) -> str | None:
    """Of a name as it stands in a record; None where it is not documented."""
    return next((text for pattern, text in _PATTERNS.items() if pattern.fullmatch(name)), None)
