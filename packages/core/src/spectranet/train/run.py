"""The training run: one loop, read from top to bottom. What must stand before it is in ``set_up.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.fsdp import FSDPModule

from spectranet.config import Config, Resolved
from spectranet.data.loader import TrainStream
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.tasks.gallery import write_gallery
from spectranet.tasks.runner import run_tasks
from spectranet.train.checkpoint import Saver
from spectranet.train.distributed import World
from spectranet.train.faults.failure_limit import FailureLimit
from spectranet.train.faults.failure_log import FailureLog
from spectranet.train.faults.finite import FiniteGuard
from spectranet.train.faults.lockstep import Lockstep
from spectranet.train.faults.roll_back import RollBack
from spectranet.train.journal.journal import Journal
from spectranet.train.objective_pass import ObjectivePass, StepLosses, coefficients
from spectranet.train.optimizer import fill_gradients, learning_rate
from spectranet.train.same_data import usable_everywhere
from spectranet.train.snapshot import save
from spectranet.train.stopping.ending import Stopped
from spectranet.train.stopping.heartbeat import Heartbeat
from spectranet.train.stopping.place import Progress
from spectranet.train.stopping.stop import StopFlag
from spectranet.train.watch.gradient_norms import GradientNorms
from spectranet.train.watch.loss_shares import loss_by_modality
from spectranet.train.watch.watch import Watch, is_logged

__all__ = ["Run", "seed_step", "train"]


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
    progress: Progress
    heartbeat: Heartbeat
    saver: Saver
    gradient_norms: GradientNorms
    watch: Watch
    start_step: int

    @property
    def directory(self) -> Path:
        return Path(self.config.run_dir)


def train(run: Run) -> int:
    """Train to the last step; returns the exit code."""
    run.stop.begin(run.start_step)
    try:
        take_steps(run)
        run.stop.finish()
        evaluate(run, run.config.train.steps)
    except Stopped as stopped:
        leave_resumable(run)
        return stopped.code
    run.journal.event("end", run.config.train.steps, "all steps are done", tell=False)
    if run.world.is_main:
        publish(run)
    return 0


def take_steps(run: Run) -> None:
    """All steps that are left, with evaluations and checkpoints between them.

    Raises:
        Stopped: on all ranks, when one is asked to stop; what was done of a step is given up.
    """
    config, optimizer = run.config, run.optimizer
    steps = config.train.steps
    lockstep = Lockstep(run.model, run.world, run.resolved.host)
    passes = ObjectivePass(
        run.model, run.world, coefficients(config), config.train.keep_encoded, config.train.gather, lockstep
    )
    guard = FiniteGuard(run.directory, run.model, run.world, run.journal, config.train, run.resolved.to_yaml)
    roll_back = RollBack(run, guard)

    passes.before_each = give_way(run)
    run.progress.enter("data")
    for step, batches in run.watch.steps(run.stream, run.start_step):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, config.train.optimizer)
        seed_step(config.train.seed, step, run.world)
        run.progress.enter("forward")
        losses = passes(batches, step)
        run.progress.enter("update")
        run.watch.saw(batches)
        fill_gradients(run.gradient_norms.parameters)
        grad_norm = run.gradient_norms.clip(config.train.optimizer.clip_norm)
        if guard.allows(step, grad_norm, losses.sums, batches):
            optimizer.step()
            run.model.after_step()
        optimizer.zero_grad()

        done = step + 1
        run.progress.done(done)
        roll_back.when_due(done)
        run.failure_log.write(done, [each for batch in batches for each in batch.skipped])
        saves, failures = run.saver.counts(), run.failure_limit.counts()
        stopping, counts = run.stop.agreed(run.world, [*saves, *failures])
        run.saver.update(counts[: len(saves)])
        run.failure_limit.update(counts[len(saves) :])
        spoilt = bool(run.failure_limit.passed())
        if is_logged(done, config):
            log_step(run, passes, losses, guard, done)
        if stopping and not spoilt:
            raise Stopped(stopping)
        last = spoilt or done == steps
        if last or run.saver.due(done, skipped=guard.in_a_row > 0):
            run.progress.enter("save")
            with run.watch.pause():
                save(run, done, last)
        if spoilt:
            raise run.failure_limit.error(run.world, done, run.directory)
        if config.eval.every and done % config.eval.every == 0 and done < steps:
            with run.watch.pause():
                run.progress.enter("save")
                run.saver.wait()  # what is saved gets its name now: an evaluation may be long
                evaluate(run, done)
        run.progress.enter("data")


def give_way(run: Run) -> Callable[[], None]:
    """What is done before each micro-batch: a sign of life, and in long steps a look at the stop flag.

    A step can be given up where its forwards leave no trace, as they do in the buffers of a batch norm.
    """
    buffers = ((m, name) for m in run.model.modules() for name in m._buffers)
    leaves_no_trace = all(name in module._non_persistent_buffers_set for module, name in buffers)

    def before_each() -> None:
        run.progress.tick()
        if leaves_no_trace:
            run.stop.between(run.world)

    return before_each


def leave_resumable(run: Run) -> None:
    """Save the last whole step, unless it is saved, and say where the run goes on."""
    done = run.progress.step
    if done == 0:
        run.journal.say("stopped before the first step was done; the same command goes on")
        return
    for module in run.model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # a step that was given up may have left its weights gathered
    if not run.stop.is_saved(done):
        run.progress.enter("save")
        save(run, done, last=True)
    told = f"stopped after step {done}, now saved; the same command goes on from there."
    run.journal.event("stop", done, told)


def seed_step(seed: int, step: int, world: World) -> None:
    """What a module draws at random in a step is the same after a resume."""
    number = (seed * 1_000_003 + step) * 65_537 + world.rank
    torch.default_generator.manual_seed(number)  # torch.manual_seed asks for every kind of device there is
    if world.device.type == "cuda":
        torch.cuda.manual_seed(number)


def log_step(run: Run, passes: ObjectivePass, losses: StepLosses, guard: FiniteGuard, done: int) -> None:
    values = losses.reduce(run.world, passes.term_coefficients)
    values |= loss_by_modality(values, passes.term_coefficients, run.parts.modalities)
    values |= {
        "lr": run.optimizer.param_groups[0]["lr"],
        **run.gradient_norms.figures(),
        **run.watch.figures(),
        **run.failure_limit.figures(),
        **guard.figures(),
    }
    run.journal.record(done, values)
    run.journal.advance(done, run.config.train.steps, values)
    for warning in run.watch.warnings(values):
        run.journal.event("warning", done, warning)


def evaluate(run: Run, done: int) -> None:
    """Run every configured task on the held-out sources; the figures go into the journal."""
    run.progress.enter("evaluation")
    agree = usable_everywhere(run.world, run.stop, run.progress)
    figures = run_tasks(run.model, run.config, run.parts, run.resolved.host, run.world, agree)
    if figures:
        run.journal.record(done, {f"eval/{name}": value for name, value in figures.items()})


def publish(run: Run) -> None:
    """The pages that a person looks at."""
    readers = list(run.resolved.host.readers.values())
    warning = write_gallery(run.directory, run.config, run.parts.modalities, readers)
    run.journal.say(warning or f"report: {run.directory / 'report.html'}")
