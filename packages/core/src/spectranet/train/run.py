"""The training run: set-up in order, then one loop."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

import spectranet
from spectranet.config import Config, Resolved, config_to_dict
from spectranet.data.loader import TrainStream
from spectranet.data.ratios import hidden_ratios
from spectranet.errors import ConfigError
from spectranet.model.build import Parts, count_parameters, select_parts
from spectranet.model.spectranet import SpectraNet
from spectranet.tasks.gallery import write_gallery
from spectranet.tasks.runner import run_tasks
from spectranet.train.changes import check_changes, check_data, rank_change
from spectranet.train.checkpoint import (
    Checkpoint,
    CheckpointError,
    find_good_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from spectranet.train.distributed import World, start_world
from spectranet.train.failure_limit import FailureLimit
from spectranet.train.failure_log import FailureLog
from spectranet.train.journal import Journal
from spectranet.train.lock import lock_run
from spectranet.train.objective_pass import ObjectivePass, StepLosses
from spectranet.train.optimizer import build_optimizer, clip_gradients, fill_gradients, learning_rate
from spectranet.train.parallelize import build_sharded
from spectranet.train.same_data import require_same_data
from spectranet.train.watch import FiniteGuard, StopFlag

__all__ = ["Run", "set_up", "train"]


@dataclass
class Run:
    """Everything a training run holds."""

    resolved: Resolved
    config: Config
    world: World
    parts: Parts
    model: SpectraNet
    optimizer: torch.optim.AdamW
    stream: TrainStream
    journal: Journal
    failure_log: FailureLog
    failure_limit: FailureLimit
    stop: StopFlag
    start_step: int
    clock: Clock = field(default_factory=lambda: Clock())

    @property
    def directory(self) -> Path:
        return Path(self.config.run_dir)


class Clock:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def lap(self) -> float:
        now = time.monotonic()
        lap, self.last = now - self.last, now
        return lap


def train(run: Run) -> int:
    """Train to the last step; returns the exit code."""
    config, optimizer = run.config, run.optimizer
    steps = config.train.steps
    passes = ObjectivePass(run.model, run.world, _coefficients(config), config.train.keep_encoded)
    guard = FiniteGuard(run.directory, run.world)
    run.clock.lap()
    last_log = run.start_step

    run.stop.begin(run.start_step)
    for step, batches in enumerate(run.stream, start=run.start_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, config.train.optimizer)
        seed_step(config.train.seed, step, run.world)
        losses = passes(batches)
        fill_gradients(run.model)
        grad_norm = clip_gradients(run.model, config.train.optimizer.clip_norm).item()
        if guard.allows(step, grad_norm, batches):
            optimizer.step()
            run.model.after_step()
        optimizer.zero_grad()

        done = step + 1
        run.failure_log.write(done, [each for batch in batches for each in batch.skipped])
        stopping, counts = run.stop.agreed(run.world, run.failure_limit.counts())
        run.failure_limit.update(counts)
        spoilt = bool(run.failure_limit.passed())
        if done % config.train.log_every == 0 or done in (1, steps):
            log_step(run, passes, losses, done, done - last_log, grad_norm)
            last_log = done
        if stopping or spoilt or done % config.train.checkpoint.every == 0 or done == steps:
            save(run, done)
            run.clock.lap()
        if spoilt:
            raise run.failure_limit.error(run.world, done, run.directory)
        if config.eval.every and done % config.eval.every == 0 and done < steps and not stopping:
            evaluate(run, done)
            run.clock.lap()
        if stopping:
            run.journal.say(f"stopped after step {done}, now saved; the same command goes on from there.")
            return stopping
    run.stop.finish()
    evaluate(run, steps)
    if run.world.is_main:
        publish(run)
    return 0


def set_up(resolved: Resolved, launcher: int | None = None) -> Run:
    """Data, ranks, model, optimizer and position of a run, from its newest good checkpoint if any.

    The stream comes first: its workers are forked, and must not inherit a process group.

    Args:
        launcher: process id of torchrun, if that started us: without it the run ends.
    """
    config = resolved.config
    stop = StopFlag(launcher)
    parts = select_parts(config, resolved.host.modalities, resolved.host.objectives)
    make_run_directory(config.run_dir)
    if int(os.environ.get("RANK", 0)) == 0:
        lock_run(Path(config.run_dir))
    checkpoint, told = _newest_checkpoint(config)
    start = checkpoint.step if checkpoint else 0
    stream = open_stream(resolved, parts, start)
    world = start_world(config.train.device, config.train.threads)
    world.require_same("plugins", resolved.host.digest())
    world.require_same("configurations", json.dumps(config_to_dict(config), sort_keys=True))
    world.require_same("checkpoints to go on from", str(checkpoint and checkpoint.step))
    require_same_data(world, stream.corpus)
    if checkpoint is not None:
        told += rank_change(checkpoint, world.size)
        told += check_data(checkpoint, stream.corpus, accept=config.train.checkpoint.accept_changed_data)

    model = build_sharded(config, parts, world)
    optimizer = build_optimizer(model, config.train.optimizer)
    if checkpoint is not None:
        try:
            load_checkpoint(checkpoint, model, optimizer)
        except CheckpointError as error:
            raise CheckpointError("\n  ".join([str(error), *told])) from None

    sink = resolved.host.hook.spectranet_log
    journal = Journal(Path(config.run_dir), config.train.steps, start, world, sink)
    for line in told:
        journal.say(line)
    failure_log = FailureLog(Path(config.run_dir), start, world)
    before = checkpoint.manifest.get("samples", {}) if checkpoint else {}
    failure_limit = FailureLimit(config.data.failure_limit, stream.failures, before)
    run = Run(
        resolved=resolved,
        config=config,
        world=world,
        parts=parts,
        model=model,
        optimizer=optimizer,
        stream=stream,
        journal=journal,
        failure_log=failure_log,
        failure_limit=failure_limit,
        stop=stop,
        start_step=start,
    )
    if world.is_main:
        describe_run(run)
    return run


def _newest_checkpoint(config: Config) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint to go on from, and what there is to tell about it."""
    directory = Path(config.run_dir) / "checkpoints"
    checkpoint, complaints = find_good_checkpoint(directory)
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
        told += check_changes(checkpoint, config_to_dict(config))
        if checkpoint.step >= config.train.steps:
            told.append(f"all {checkpoint.step} steps are done; to train longer:  train.steps=…")
    return checkpoint, told


def make_run_directory(run_dir: str) -> None:
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


def seed_step(seed: int, step: int, world: World) -> None:
    """What a module draws at random in a step is the same after a resume."""
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + world.rank)


def open_stream(resolved: Resolved, parts: Parts, start: int) -> TrainStream:
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


def log_step(
    run: Run,
    passes: ObjectivePass,
    losses: StepLosses,
    done: int,
    steps_since: int,
    grad_norm: float,
) -> None:
    values = losses.reduce(run.world, passes.term_coefficients)
    seconds = run.clock.lap() / max(1, steps_since)
    values |= {
        "grad_norm": grad_norm,
        "lr": run.optimizer.param_groups[0]["lr"],
        "samples_per_s": run.config.train.global_batch / seconds,
        "seconds_per_step": seconds,
        **run.failure_limit.figures(),
    }
    run.journal.record(done, values)
    run.journal.advance(done, run.config.train.steps, values)


def evaluate(run: Run, done: int) -> None:
    """Run every configured task on the held-out sources; the figures go into the journal."""
    figures = run_tasks(run.model, run.config, run.parts, run.resolved.host, run.world)
    if figures:
        run.journal.record(done, {f"eval/{name}": value for name, value in figures.items()})


def publish(run: Run) -> None:
    """The pages that a person looks at."""
    readers = list(run.resolved.host.readers.values())
    warning = write_gallery(run.directory, run.config, run.parts.modalities, readers)
    run.journal.say(warning or f"report: {run.directory / 'report.html'}")


def save(run: Run, done: int) -> None:
    about = {
        "config": config_to_dict(run.config),
        "plugins": run.resolved.host.describe(),
        "plugin_digest": run.resolved.host.digest(),
        "sources": run.stream.corpus,
        "topology": {"ranks": run.world.size},
        "versions": versions(),
        "samples": run.failure_limit.totals(),
    }
    path = save_checkpoint(
        run.directory / "checkpoints",
        done,
        run.model,
        run.optimizer,
        about,
        run.world,
        run.config.train.checkpoint.keep_last,
    )
    run.stop.saved(done)
    if run.world.is_main:
        try:
            run.resolved.host.hook.spectranet_checkpoint_saved(path=str(path), step=done)
        except Exception as error:  # the checkpoint is safe, whatever a listener makes of it
            run.journal.say(f"warning: a plugin failed on a saved checkpoint: {error}")


def describe_run(run: Run) -> None:
    """Write ``run.json``, what the report's headline needs, and ``config.yaml``, which repeats the run."""
    parameters = count_parameters(run.model)
    facts = {
        "started": time.time(),
        "parameters": parameters,
        "config": config_to_dict(run.config),
        "plugins": run.resolved.host.describe(),
        "ranks": run.world.size,
        "sources": run.stream.corpus,
        "versions": versions(),
    }
    (run.directory / "run.json").write_text(json.dumps(facts, indent=1))
    (run.directory / "config.yaml").write_text(run.resolved.to_yaml())
    total = sum(parameters.values())
    parts = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in parameters.items())
    run.journal.say(f"{total / 1e6:.2f} M parameters: {parts}")


def versions() -> dict[str, str]:
    return {
        "spectranet-core": spectranet.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _coefficients(config: Config) -> Mapping[str, float]:
    return {name: float(options.weight) for name, options in config.objectives.items()}
