"""What can be set: every option of the core, with its default and a line of help.

Sections ``modalities``, ``trunks``, ``objectives`` and ``tasks`` are filled with the dataclasses of
the loaded plugins; see :mod:`spectranet.config.merge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

__all__ = [
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "EvalConfig",
    "ModelConfig",
    "OptimizerConfig",
    "SourceConfig",
    "TrainConfig",
    "option",
]


def option(default: Any, help: str) -> Any:
    """A dataclass field with a default and one line of help; mutable defaults are copied."""
    metadata = {"help": help}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class SourceConfig:
    path: str = option("", "manifest (.jsonl, .csv), tar shards ('shards/{000..099}.tar') or folder")
    format: str = option("auto", "reader to use; auto goes by the path")
    modalities: list[str] = option([], "modalities that every sample of this source has")
    weight: float = option(1.0, "share of the slots, relative to the other sources")
    fields: dict[str, str] = option({}, "modality -> extension or column, where its name is unusual")
    where: dict[str, Annotated[Any, str | list[str]]] = option(
        {}, "keep only rows whose column has this value, or one of these: {split: [train, val]} (manifests)"
    )
    overrides: dict[str, Any] = option({}, "modality -> options of it that differ in this source")


@dataclass
class DataConfig:
    sources: dict[str, SourceConfig] = option({}, "training sources by name")
    workers: int = option(1, "data-loading processes per rank; 0 loads in the training process")
    threads: int = option(2, "threads that read and decode inside each worker")
    prefetch: int = option(4, "micro-batches that each worker holds ready")
    window_shards: int = option(32, "shards whose samples are shuffled among each other")
    cache_dir: str = option("~/.cache/spectranet", "where shards of object stores, and indexes, are kept")
    cache_gib: float = option(64.0, "most space that shards in cache_dir may take")
    stall_s: float = option(60.0, "a sample that takes longer to read and decode is given up and replaced")
    failure_limit: float = option(0.01, "share of a source's samples that may fail; more ends the run")


@dataclass
class DecoderConfig:
    width: int = option(512, "width of the decoder")
    layers: int = option(8, "number of blocks")
    heads: int = option(8, "attention heads")
    mlp_hidden: int = option(2048, "hidden width of the MLP")
    mlp: str = option("swiglu", "swiglu or gelu")
    norm: str = option("rmsnorm", "rmsnorm or layernorm")


@dataclass
class ModelConfig:
    decoder: DecoderConfig = field(
        default_factory=DecoderConfig, metadata={"help": "the cross-modal decoder"}
    )


@dataclass
class OptimizerConfig:
    lr_peak: float = option(5e-4, "learning rate at the end of the warm-up")
    lr_floor: float = option(1e-6, "learning rate at the end of the cosine")
    warmup_steps: int = option(100, "steps of linear warm-up from zero")
    weight_decay: float = option(0.05, "decoupled weight decay, on matrices only")
    beta1: float = option(0.9, "AdamW: decay of the first moment")
    beta2: float = option(0.95, "AdamW: decay of the second moment")
    eps: float = option(1e-8, "AdamW: added to the denominator")
    clip_norm: float = option(1.0, "largest norm of the gradient over all parameters")


@dataclass
class CheckpointConfig:
    every: int = option(1000, "steps between checkpoints; the last step always writes one")
    asynchronous: bool = option(True, "write while the next steps are trained; takes a copy in host memory")
    keep_last: int = option(2, "how many of the newest checkpoints stay")
    keep_every: int = option(0, "checkpoints of the multiples of so many steps stay for ever; 0: none")
    resume: bool = option(True, "go on from the newest good checkpoint of the run directory")
    accept_changed_data: bool = option(
        False, "go on although sources have other shards than at the checkpoint, and so another order"
    )
    accept_changed_model: bool = option(
        False, "go on with a modality, head or objective more or less than the checkpoint has"
    )


@dataclass
class TrainConfig:
    steps: int = option(1000, "optimizer steps")
    global_batch: int = option(256, "samples a step, over all ranks and micro-batches")
    slots: int = option(8, "parts of the global batch, each of one source")
    micro_batch: int | None = option(
        None, "samples a forward: part of a rank's share of a slot, or several; null: one"
    )
    seed: int = option(0, "seed of initialisation, order, augmentation and masks")
    precision: str = option("fp32", "fp32, or bf16 for parameters and activations in the step")
    device: str = option("auto", "auto, cpu or cuda")
    threads: int | None = option(None, "CPU threads of each rank; null: the cores shared evenly")
    activation_checkpointing: str = option(
        "none", "none, selective (attention and every other matrix product are kept) or full"
    )
    keep_encoded: bool = option(
        False, "keep the encoders' activations of a step's first pass: faster, more memory"
    )
    compile: bool = option(False, "torch.compile each block")
    shard_ranks: int | None = option(
        None, "ranks that hold one copy of the model, each a part; null: all, in a single copy"
    )
    gather: str = option(
        "reshard", "reshard: gather a block's weights for each use; keep: for a whole step, in more memory"
    )
    optimizer: OptimizerConfig = field(
        default_factory=OptimizerConfig, metadata={"help": "AdamW and its schedule"}
    )
    checkpoint: CheckpointConfig = field(
        default_factory=CheckpointConfig, metadata={"help": "when to save and what to keep"}
    )
    skip_limit: int = option(
        10, "steps in a row whose loss or gradient is not finite before the weights go back to a checkpoint"
    )
    log_every: int = option(10, "steps between records in metrics.jsonl")
    timeout_s: float = option(
        600.0, "a rank that makes no progress for so long ends the run; three times that while steps compile"
    )
    peak_tflops: float | None = option(
        None, "dense peak of a device, which MFU is a share of; null: known of some GPUs"
    )


@dataclass
class EvalConfig:
    every: int = option(0, "steps between evaluations; 0 evaluates after the last step only")
    batch: int = option(32, "samples a forward on one rank")
    sources: dict[str, SourceConfig] = option({}, "held-out sources by name")
    limit: int | None = option(None, "evaluate at most this many samples of each source")


@dataclass
class Config:
    run_dir: str = option("runs/default", "where checkpoints, metrics and the report go")
    plugins: list[str] | None = option(None, "plugins to load; null: every installed first-party one")
    objective_plugins: list[str] = option(["objectives"], "plugins that bring the objectives")
    modalities: dict[str, Any] = option({}, "options of each modality")
    trunks: dict[str, Any] = option({}, "options of networks that modalities share")
    objectives: dict[str, Any] = option({}, "objectives to train with, and their options")
    tasks: dict[str, Any] = option({}, "tasks to evaluate on, and their options")
    model: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "the model"})
    data: DataConfig = field(default_factory=DataConfig, metadata={"help": "training data"})
    train: TrainConfig = field(default_factory=TrainConfig, metadata={"help": "the training loop"})
    eval: EvalConfig = field(default_factory=EvalConfig, metadata={"help": "evaluation"})
