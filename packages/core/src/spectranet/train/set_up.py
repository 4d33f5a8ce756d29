"""What must stand before the first step: data, ranks, model, optimizer, and the place in the run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from spectranet.config import Resolved, config_to_dict
from spectranet.data.loader import TrainStream
from spectranet.data.ratios import hidden_ratios
from spectranet.data.source import open_sources
from spectranet.errors import ConfigError
from spectranet.model.build import Parts, select_parts
from spectranet.model.spectranet import SpectraNet
from spectranet.train.changes import check_changes, check_data, plugin_changes, rank_change
from spectranet.train.checkpoint import (
    Checkpoint,
    CheckpointError,
    Saver,
    find_good_checkpoint,
    load_checkpoint,
)
from spectranet.train.checkpoint.directory import clear
from spectranet.train.checkpoint.peers import Peers, find_peers
from spectranet.train.distributed import World, start_world
from spectranet.train.faults.failure_limit import FailureLimit
from spectranet.train.faults.failure_log import FailureLog
from spectranet.train.journal.journal import Journal
from spectranet.train.lock import lock_run
from spectranet.train.optimizer import build_optimizer
from spectranet.train.parallel.parallelize import build_sharded
from spectranet.train.run import Run
from spectranet.train.same_data import require_same_data
from spectranet.train.same_plugins import require_same_plugins
from spectranet.train.snapshot import announcer, describe_run
from spectranet.train.stopping.heartbeat import Heartbeat
from spectranet.train.stopping.place import Progress
from spectranet.train.stopping.stop import StopFlag
from spectranet.train.watch.gradient_norms import GradientNorms
from spectranet.train.watch.watch import Watch

__all__ = ["set_up"]


def set_up(resolved: Resolved, launcher: int | None = None) -> Run:
    """Data, ranks, model, optimizer and position of a run, from its newest good checkpoint if any.

    The stream comes first: its workers are forked, and must not inherit a process group.

    Args:
        launcher: process id of torchrun, if that started us: without it the run ends.
    """
    config = resolved.config
    stop = StopFlag(launcher)
    parts = select_parts(config, resolved.host.modalities, resolved.host.objectives)
    peers = find_peers()
    require_same_plugins(peers, resolved.host)
    peers.together(lambda: _take_run_directory(config.run_dir))
    checkpoint, told = _newest_checkpoint(resolved, peers)
    start = checkpoint.step if checkpoint else 0
    stream = peers.together(lambda: _open_stream(resolved, parts, start))
    peers.together(lambda: _look_at_held_out(resolved, parts))
    timeout_s = config.train.timeout_s
    world = start_world(
        config.train.device,
        config.train.threads,
        timeout_s=4 * timeout_s,  # the heartbeat is sooner, and says who
        shard_ranks=config.train.shard_ranks,
    )
    progress = Progress(start)
    heartbeat = Heartbeat(world, progress, timeout_s)
    with heartbeat.explaining():
        stop.check(world)
        _require_same(resolved, checkpoint, stream, world)
        if checkpoint is not None:
            told += rank_change(checkpoint, world.size)
            told += check_data(checkpoint, stream.corpus, accept=config.train.checkpoint.accept_changed_data)
        model, optimizer = _build(resolved, parts, world, checkpoint, told)
        stop.check(world)
        journal = _journal(resolved, world, start, [*told, *_not_switched_on(resolved)])
        before = checkpoint.manifest.get("samples", {}) if checkpoint else {}
        run = Run(
            resolved=resolved,
            config=config,
            world=world,
            parts=parts,
            model=model,
            optimizer=optimizer,
            stream=stream,
            journal=journal,
            failure_log=FailureLog(Path(config.run_dir), start, world),
            failure_limit=FailureLimit(config.data.failure_limit, stream.failures, before),
            stop=stop,
            progress=progress,
            heartbeat=heartbeat,
            saver=_saver(resolved, world, journal, stop, progress),
            gradient_norms=GradientNorms(model, world),
            watch=Watch(config, parts, model, world),
            start_step=start,
        )
        if world.is_main:
            describe_run(run)
    return run


def _take_run_directory(run_dir: str) -> None:
    """It is there, it is ours, and what a killed run was about to write or delete is gone."""
    _make_run_directory(run_dir)
    if int(os.environ.get("RANK", 0)) == 0:
        lock_run(Path(run_dir))
        clear(Path(run_dir) / "checkpoints")


def _newest_checkpoint(resolved: Resolved, peers: Peers) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, and what there is to tell about it."""
    config = resolved.config
    directory = Path(config.run_dir) / "checkpoints"
    checkpoint, complaints = find_good_checkpoint(directory, peers)
    if (checkpoint or complaints) and not config.train.checkpoint.resume:
        raise ConfigError(
            f"{directory} holds checkpoints, and train.checkpoint.resume is false.\n"
            "  go on from them:  train.checkpoint.resume=true\n  start anew:  another run_dir"
        )
    if complaints and checkpoint is None:
        raise CheckpointError(
            "\n  ".join(["no checkpoint of this run is intact:", *complaints])
            + "\n  start anew:  another run_dir, or move the damaged checkpoints away"
        )
    told = [f"warning: {complaint}" for complaint in complaints]
    if checkpoint is not None:
        told.append(f"going on from {checkpoint.path}")
        accept = config.train.checkpoint.accept_changed_data
        told += check_changes(checkpoint, config_to_dict(config), accept_data=accept)
        told += plugin_changes(checkpoint, resolved.host.describe())
        if checkpoint.step >= config.train.steps:
            told.append(f"all {checkpoint.step} steps are done; to train longer:  train.steps=…")
    return checkpoint, told


def _require_same(
    resolved: Resolved, checkpoint: Checkpoint | None, stream: TrainStream, world: World
) -> None:
    """Refuse to train where the ranks would not train the same; a collective call."""
    config = json.dumps(config_to_dict(resolved.config), sort_keys=True)
    world.require_same("configurations", config)
    world.require_same("checkpoints to go on from", str(checkpoint and checkpoint.step))
    require_same_data(world, stream.corpus)


def _build(
    resolved: Resolved, parts: Parts, world: World, checkpoint: Checkpoint | None, told: list[str]
) -> tuple[SpectraNet, torch.optim.AdamW]:
    """Model and optimizer, as they were in the checkpoint; what was not loaded is added to ``told``.

    Raises:
        CheckpointError: it does not fit; the message has all that has changed since.
    """
    config = resolved.config
    model = build_sharded(config, parts, world)
    optimizer = build_optimizer(model, config.train.optimizer)
    if checkpoint is not None:
        try:
            accept = config.train.checkpoint.accept_changed_model
            told += load_checkpoint(checkpoint, model, optimizer, accept)
        except CheckpointError as error:
            raise type(error)("\n  ".join([str(error), *told])) from None
    return model, optimizer


def _journal(resolved: Resolved, world: World, start: int, told: Sequence[str]) -> Journal:
    config = resolved.config
    trackers = resolved.host.callers("spectranet_log")
    journal = Journal(Path(config.run_dir), config.train.steps, start, world, trackers)
    journal.begin(world.size, told)
    return journal


def _not_switched_on(resolved: Resolved) -> list[str]:
    """Plugins that bring objectives alone, none of which trains: to load one switches nothing on."""
    lines = []
    for plugin in resolved.host.describe():
        objectives = plugin["objectives"]
        brings_more = any(plugin[kind] for kind in ("modalities", "tasks", "readers", "presets"))
        if objectives and not brings_more and not set(objectives) & set(resolved.config.objectives):
            how = " or ".join(f"'objectives.{name}={{}}'" for name in objectives)
            lines.append(f"warning: plugin '{plugin['name']}' trains nothing here until it is told:  {how}")
    return lines


def _saver(resolved: Resolved, world: World, journal: Journal, stop: StopFlag, progress: Progress) -> Saver:
    config = resolved.config
    return Saver(
        Path(config.run_dir) / "checkpoints",
        config.train.checkpoint,
        world,
        say=lambda text: journal.event("warning", progress.step, text),
        saved=announcer(stop, resolved.host, journal),
        alive=progress.tick,
    )


def _make_run_directory(run_dir: str) -> None:
    """Create it now, before anything is paid for.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        Path(run_dir).mkdir(parents=True, exist_ok=True)
        writable = os.access(run_dir, os.W_OK)
        reason = "it is not writable"
    except OSError as error:
        writable, reason = False, error.strerror or str(error)
    if not writable:
        raise ConfigError(
            f"run_dir '{run_dir}' cannot be used: {reason}.\n  choose another:  run_dir=runs/mine"
        )


def _open_stream(resolved: Resolved, parts: Parts, start: int) -> TrainStream:
    """The batches of this rank, step by step, from step ``start``."""
    config = resolved.config
    return TrainStream(
        config,
        parts.modalities,
        list(resolved.host.readers.values()),
        hidden_ratios(config, parts.modalities),
        start_step=start,
        rank=int(os.environ.get("RANK", 0)),
        ranks=int(os.environ.get("WORLD_SIZE", 1)),
    )


def _look_at_held_out(resolved: Resolved, parts: Parts) -> None:
    """Open the sources of the evaluation once, so that a mistake in them is told now and not after days.

    Their indexes are made by this too: that takes forks, which a process with collectives better not makes.

    Raises:
        ConfigError: lists what is wrong with every source that cannot be used.
    """
    config = resolved.config
    if config.tasks and config.eval.sources:
        readers = list(resolved.host.readers.values())
        open_sources(config.eval.sources, parts.modalities, readers, config.data, "eval")
