"""The training run: one loop, read from top to bottom. What must stand before it is in ``set_up.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from spectranet.config import Config, Resolved
from spectranet.data.loader import TrainStream
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.tasks.gallery import write_gallery
from spectranet.tasks.runner import run_tasks
from spectranet.train.checkpoint import Saver
from spectranet.train.distributed import World
from spectranet.train.failure_limit import FailureLimit
from spectranet.train.failure_log import FailureLog
from spectranet.train.finite import FiniteGuard
from spectranet.train.gradient_norms import GradientNorms
from spectranet.train.journal import Journal
from spectranet.train.loss_shares import loss_by_modality
from spectranet.train.objective_pass import ObjectivePass, StepLosses
from spectranet.train.optimizer import fill_gradients, learning_rate
from spectranet.train.snapshot import save
from spectranet.train.stop import StopFlag
from spectranet.train.watch import Watch, is_logged

__all__ = ["Run", "train"]


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
    saver: Saver
    gradient_norms: GradientNorms
    watch: Watch
    start_step: int

    @property
    def directory(self) -> Path:
        return Path(self.config.run_dir)


def train(run: Run) -> int:
    """Train to the last step; returns the exit code."""
    config, optimizer = run.config, run.optimizer
    steps = config.train.steps
    passes = ObjectivePass(
        run.model, run.world, _coefficients(config), config.train.keep_encoded, config.train.gather
    )
    guard = FiniteGuard(run.directory, run.world)

    run.stop.begin(run.start_step)
    for step, batches in run.watch.steps(run.stream, run.start_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, config.train.optimizer)
        seed_step(config.train.seed, step, run.world)
        losses = passes(batches)
        run.watch.saw(batches)
        fill_gradients(run.model)
        grad_norm = run.gradient_norms.clip(config.train.optimizer.clip_norm)
        if guard.allows(step, grad_norm, batches):
            optimizer.step()
            run.model.after_step()
        optimizer.zero_grad()

        done = step + 1
        run.failure_log.write(done, [each for batch in batches for each in batch.skipped])
        saves, failures = run.saver.counts(), run.failure_limit.counts()
        stopping, counts = run.stop.agreed(run.world, [*saves, *failures])
        run.saver.update(counts[: len(saves)])
        run.failure_limit.update(counts[len(saves) :])
        spoilt = bool(run.failure_limit.passed())
        if is_logged(done, config):
            log_step(run, passes, losses, done)
        last = bool(stopping or spoilt or done == steps)
        if last or run.saver.due(done):
            with run.watch.pause():
                save(run, done, last)
        if spoilt:
            raise run.failure_limit.error(run.world, done, run.directory)
        if config.eval.every and done % config.eval.every == 0 and done < steps and not stopping:
            with run.watch.pause():
                evaluate(run, done)
        if stopping:
            run.journal.say(f"stopped after step {done}, now saved; the same command goes on from there.")
            return stopping
    run.stop.finish()
    evaluate(run, steps)
    if run.world.is_main:
        publish(run)
    return 0


def seed_step(seed: int, step: int, world: World) -> None:
    """What a module draws at random in a step is the same after a resume."""
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + world.rank)


def log_step(run: Run, passes: ObjectivePass, losses: StepLosses, done: int) -> None:
    values = losses.reduce(run.world, passes.term_coefficients)
    values |= loss_by_modality(values, passes.term_coefficients, run.parts.modalities)
    values |= {
        "lr": run.optimizer.param_groups[0]["lr"],
        **run.gradient_norms.figures(),
        **run.watch.figures(),
        **run.failure_limit.figures(),
    }
    run.journal.record(done, values)
    run.journal.advance(done, run.config.train.steps, values)
    for warning in run.watch.warnings(values):
        run.journal.event("warning", done, warning)


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


def _coefficients(config: Config) -> Mapping[str, float]:
    return {name: float(options.weight) for name, options in config.objectives.items()}
