"""What spectranet-tides brings. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from spectranet import Modality, Objective, Preset, Reader, Task, Trunk, hookimpl, lazy
from spectranet_tides import series
from spectranet_tides.logbook import Logbook
from spectranet_tides.options import AlignOptions, GuessOptions, NearestOptions, SeaOptions, TideOptions

SEA = Trunk("sea", SeaOptions, lazy("spectranet_tides.encoder:Sea"))

TIDE = Modality(
    name="tide",
    config=TideOptions,
    fields=("tide", "levels"),
    decode=series.decode,
    build_transform=series.build_transform,
    collate=lazy("spectranet_tides.collate:collate"),
    sample_mask=series.sample_mask,
    build_encoder=lazy("spectranet_tides.encoder:TideEncoder"),
    build_target_head=lazy("spectranet_tides.encoder:LevelHead"),
    shard_units=lazy("spectranet_tides.encoder:shard_units"),
    flops=lazy("spectranet_tides.encoder:flops"),
    example=series.example,
    fingerprint=series.fingerprint,
    mask_ratio=0.3,
    trunk=SEA,
    temporal=True,
    describe=series.describe,
    preview=series.preview,
    largest=series.largest,
)

YAML = """
trunks: {sea: {width: 24}}
model: {decoder: {width: 32, layers: 1, heads: 2, mlp_hidden: 32}}
objectives: {guess: {}, align: {}}
train: {global_batch: 8, slots: 2, micro_batch: null, threads: 1, log_every: 1, optimizer: {warmup_steps: 1}}
data: {workers: 0}
"""


@hookimpl
def spectranet_modalities():
    return [TIDE]


@hookimpl
def spectranet_objectives():
    return [
        Objective("guess", GuessOptions, lazy("spectranet_tides.guess:build")),
        Objective("align", AlignOptions, lazy("spectranet_tides.align:build"), needs_global_batch=True),
    ]


@hookimpl
def spectranet_tasks():
    return [
        Task(
            "nearest",
            NearestOptions,
            metrics=("{source}/{a}-{b}/first",),
            evaluate=lazy("spectranet_tides.nearest:evaluate"),
            finetune_objective="align",
        )
    ]


@hookimpl
def spectranet_readers():
    return [Reader(name="logbook", matches=lambda path: path.endswith(".logbook"), open=Logbook)]


@hookimpl
def spectranet_presets():
    return [Preset(name="tides", summary="a small sea", yaml=YAML)]


@hookimpl
def spectranet_check_config(config, training):
    tide = config.modalities.get("tide")
    if training and tide is not None and tide.most < tide.patch:
        yield f"modalities.tide.most={tide.most} is less than a token of {tide.patch} readings."


@hookimpl
def spectranet_log(record, run_dir):
    with (Path(run_dir) / "tides.jsonl").open("a") as file:
        file.write(json.dumps({"step": record["step"], "loss": record.get("loss")}) + "\n")


@hookimpl
def spectranet_checkpoint_saved(path, step):
    with (Path(path).parents[1] / "tides-saved.txt").open("a") as file:
        file.write(f"{step} {Path(path).name}\n")


@hookimpl
def spectranet_commands():
    from spectranet_tides.commands import tides

    return [tides]
