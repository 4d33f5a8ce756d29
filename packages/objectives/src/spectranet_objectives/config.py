"""What can be set on the objectives and on the retrieval task.

Apart from their modules so that listing plugins and checking a configuration import no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from spectranet import option

__all__ = [
    "CONTRASTIVE_LOSSES",
    "SAME_CONTENT_POLICIES",
    "CaptioningConfig",
    "ContrastiveConfig",
    "MmmConfig",
    "RetrievalConfig",
    "TemporalConfig",
]

CONTRASTIVE_LOSSES = ("infonce", "sigmoid")
SAME_CONTENT_POLICIES = ("negative", "ignore")


@dataclass
class MmmConfig:
    weight: float = option(1.0, "factor of the terms mmm.* in the total loss")
    ratios: dict[str, float] = option({}, "modality -> share of its tokens to hide; else the modality's own")
    scales: dict[str, float] = option({}, "modality -> factor of its term; 1 where nothing is said")


@dataclass
class ContrastiveConfig:
    weight: float = option(1.0, "factor of the terms contrastive.* in the total loss")
    width: int = option(512, "width of the joint space")
    loss: str = option("infonce", "infonce (CLIP) or sigmoid (SigLIP)")
    scale_init: float | None = option(
        None, "logit scale at the start; null: 1/0.07 for infonce, 10 for sigmoid"
    )
    scale_max: float = option(100.0, "the logit scale is clamped to this after each step")
    bias_init: float = option(-10.0, "logit bias at the start (sigmoid only)")
    same_content: str = option(
        "negative",
        "pairs of samples with identical content in one modality: negative (as CLIP), or ignore them",
    )


@dataclass
class TemporalConfig:
    weight: float = option(1.0, "factor of the terms temporal.* in the total loss")
    width: int = option(128, "width of the projected segments")
    margin: int = option(2, "segments of the same clip at this distance or more are negatives; at least 2")
    temperature: float = option(0.1, "the similarities are divided by this")
    variance_weight: float = option(1.0, "factor of the collapse guard temporal_variance.*; 0 leaves it out")
    variance_floor: float = option(
        0.5, "the guard pushes each dimension's spread over the batch up to this; 1 is an even sphere"
    )


@dataclass
class CaptioningConfig:
    weight: float = option(1.0, "factor of the term captioning.* in the total loss")
    modality: str = option("text", "the discrete modality to be written from the others")
    max_tokens: int | None = option(None, "predict at most this many tokens of each caption; null: all")
    tie: bool = option(True, "predict with the embedding table of the inputs")


@dataclass
class RetrievalConfig:
    objective: str = option(
        "contrastive", "whose embeddings are compared: a row a sample, by modality, as contrast gives them"
    )
    ks: list[int] = option([1, 5], "cut-offs of the recall")
    max_candidates: int | None = option(None, "largest gallery; queries whose partners are left out are too")
    save_examples: int = option(
        0, "how many queries of each direction to write out with their best candidates"
    )
    examples_path: str = option("", "JSON file for the examples, such as runs/demo/retrieval.json")
