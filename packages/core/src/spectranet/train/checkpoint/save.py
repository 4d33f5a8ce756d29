"""How does a step become a checkpoint while the next ones are trained?

In the step each rank copies its shards. A thread writes the copy. What has become of it travels with the
sums that ranks make after every step anyway (:meth:`Saver.counts`): when all have written, rank 0 publishes
in its thread: manifest, rename. No thread makes a collective call, and every rank comes to each decision
from the same sums. A save that fails anywhere is given up everywhere, told, and tried again some steps later.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectranet.config.schema import CheckpointConfig
from spectranet.train.checkpoint.directory import (
    CheckpointError,
    clear,
    final_path,
    forget,
    list_checkpoints,
    put_in_place,
    staging_path,
    step_of,
    write_manifest,
)
from spectranet.train.checkpoint.shards import (
    Shard,
    Stage,
    cut,
    shards_to_write,
    state_of,
    trained,
    write,
)
from spectranet.train.distributed import World
from spectranet.train.stopping.ending import NOT_SAVED

__all__ = ["CheckpointNotWritten", "Saver"]

_LOOK_S = 0.05
"""Between two looks at a save that is waited for."""

_LAST_TRIES_S = (1.0, 3.0)
"""Pauses between the attempts at a save that nothing follows."""

_ALONE_S = 10.0
"""For a save that was under way when an error ended the run: torchrun kills after 30 s."""

_OFTEN = 3


class CheckpointNotWritten(CheckpointError):  # noqa: N818 - it says what has happened
    """The last state of a run could not be saved: the steps since the newest checkpoint are lost."""

    exit_code = NOT_SAVED


class _Job(threading.Thread):
    """A call in a thread of its own, which ends with the process, and what became of it."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._call = call
        self.done = False
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error
        self.done = True


@dataclass
class _Save:
    """A save that is under way on this rank."""

    step: int
    manifest: dict[str, Any]
    bytes: int
    write: _Job
    publish: _Job | None = None
    all_written: bool = False


class Saver:
    """Saves of a run. All methods but the threads' own are called by all ranks, at the same steps.

    Args:
        directory: of the checkpoints.
        say: tells the user; called on every rank.
        saved: told of each complete checkpoint: its path and step.
        alive: called while a save is waited for, whenever some rank has come further, as often on every rank.
    """

    def __init__(
        self,
        directory: Path,
        options: CheckpointConfig,
        world: World,
        say: Callable[[str], None] = lambda text: None,
        saved: Callable[[Path, int], None] = lambda path, step: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._options = options
        self._world = world
        self._say = say
        self._saved = saved
        self._alive = alive
        self._stage = Stage()
        self._save: _Save | None = None
        self._retry_at: int | None = None
        self._failures = 0
        self._waits = 0
        self._newest_step: int | None = None
        self._ending = False
        self._files_written = 0
        """Of the save under way."""

    def due(self, step: int, skipped: bool = False) -> bool:
        """Whether ``step`` is one of those after which to save: regularly, and again after a failure.

        After a step that was ``skipped`` it is put off: checkpoints from before the trouble must stay.
        """
        is_due = step % self._options.every == 0 or (self._retry_at is not None and step >= self._retry_at)
        if is_due and skipped:
            self._retry_at = step + 1
        return is_due and not skipped

    def begin(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, about: Mapping[str, Any]
    ) -> None:
        """Save the state as it is now; returns when it is copied. A save still under way is waited for.

        Args:
            step: optimizer steps done.
            about: JSON-able facts for the manifest: configuration, plugins, topology.
        """
        if self._save is not None:
            self._waits += 1
            if self._waits == _OFTEN:
                self._say(
                    "warning: a checkpoint takes longer than the steps between two, so the run waits for it;"
                    f" save less often:  train.checkpoint.every={2 * self._options.every}"
                )
            self.wait()
        self._retry_at = None
        tensors = state_of(model, optimizer)
        manifest = _manifest(step, tensors, model, optimizer, about)
        possible, trouble = self._prepare(step)
        shards = shards_to_write(tensors, self._world.rank)
        if self._options.asynchronous and possible:
            try:
                shards = self._stage.copy(shards)
            except (MemoryError, RuntimeError) as error:  # no room in host memory; there may be some later
                trouble = error
        self._files_written = 0
        job = _Job("checkpoint", lambda: self._write(step, shards if possible else None, trouble))
        self._save = _Save(step, manifest, sum(shard.bytes for shard in shards), job)
        if not self._options.asynchronous:
            self.wait()

    def counts(self) -> list[float]:
        """What this rank brings to the sum that follows a step: written, failed, published, files so far."""
        save = self._save
        if save is None:
            return [0.0, 0.0, 0.0, 0.0]
        # Each thread is looked at once: it may end with an error between two looks.
        jobs = [job for job in (save.write, save.publish) if job is not None and job.done]
        failed = any(job.error is not None for job in jobs)
        published = save.publish in jobs and not failed
        return [float(save.write in jobs), float(failed), float(published), float(self._files_written)]

    def update(self, summed: Sequence[float]) -> None:
        """Take in the :meth:`counts` of all ranks; may call collectively."""
        save = self._save
        if save is None:
            return
        ended, failed, published, _ = (round(count) for count in summed)
        if published:
            self._save, self._failures, self._newest_step = None, 0, save.step
            self._saved(final_path(self._directory, save.step), save.step)
        elif ended == self._world.size and failed:
            self._give_up(save)
        elif ended == self._world.size and not save.all_written:
            save.all_written = True
            if self._world.is_main:
                save.publish = _Job("checkpoint", lambda: self._publish(save))

    def wait(self) -> None:
        """Until no save is under way, written or given up. Ranks look together, so that none times out."""
        seen: list[float] = []
        while self._save is not None:
            job = self._save.publish or self._save.write
            job.join(_LOOK_S)
            counts = torch.tensor(self.counts(), dtype=torch.float64, device=self._world.device)
            summed = self._world.sum(counts).tolist()
            self.update(summed)
            if summed != seen:  # storage that hangs is no sign of life
                self._alive()
            seen = summed

    def finish_alone(self) -> None:
        """Where an error ends this rank: let a save that is under way end, if the others need not help.

        Each rank waits for what it writes, rank 0 also for the files of the others, which say that they are
        written, and names them complete. No collective call: the others may be gone, or know of no error.
        """
        save, self._save = self._save, None
        if save is None:
            return
        until_s = time.monotonic() + _ALONE_S
        save.write.join(_ALONE_S)
        if not self._world.is_main:
            return
        while save.publish is None and time.monotonic() < until_s:
            with suppress(OSError, ValueError):
                self._described(save.step)
                save.publish = _Job("checkpoint", lambda: self._publish(save))
            time.sleep(_LOOK_S)
        if save.publish is not None:
            save.publish.join(max(_LOOK_S, until_s - time.monotonic()))
            if save.publish.done and save.publish.error is None:
                self._saved(final_path(self._directory, save.step), save.step)

    def save_last(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, about: Mapping[str, Any]
    ) -> None:
        """Save a state after which nothing follows, and wait until it is safe.

        Raises:
            CheckpointNotWritten: it cannot be written, after several attempts.
        """
        self._ending = True
        self.wait()
        if self._newest_step == step:
            return
        for pause_s in (*_LAST_TRIES_S, None):
            self.begin(step, model, optimizer, about)
            self.wait()
            if not self._failures:
                return
            if pause_s is not None:
                time.sleep(pause_s)
        raise CheckpointNotWritten(
            f"the state after step {step} could not be saved in {1 + len(_LAST_TRIES_S)} attempts.\n"
            f"  {self._newest()}; what was trained since is lost, and the same command does it again.\n"
            f"  make room first:  df -h {self._directory}"
        )

    def _prepare(self, step: int) -> tuple[bool, Exception | None]:
        """Make the directory to write into, empty: whether it is there, and on rank 0 why not."""
        trouble: Exception | None = None
        if self._world.is_main:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                clear(self._directory)
                staging_path(self._directory, step).mkdir()
            except OSError as error:
                trouble = error
        failed = torch.tensor([float(trouble is not None)], device=self._world.device)
        return not self._world.sum(failed).item(), trouble

    def _write(self, step: int, shards: Sequence[Shard] | None, trouble: Exception | None) -> None:
        """This rank's files, and beside them what the manifest is to say; nothing where that is None."""
        if trouble is not None:
            raise trouble
        if shards is None:
            return
        staging, name = staging_path(self._directory, step), f"rank-{self._world.rank:05d}"
        paths = (staging / f"{name}-{number:03d}.safetensors" for number in itertools.count())
        told = {}
        for path, some in zip(paths, cut(shards), strict=False):
            told[path.name] = write(path, some)
            self._files_written += 1
        (staging / f"{name}.json").write_text(json.dumps(told))

    def _publish(self, save: _Save) -> None:
        """On rank 0, when all files are there: describe them, name them as complete, and drop old ones."""
        staging = staging_path(self._directory, save.step)
        files = self._described(save.step)
        for rank in range(self._world.size):
            (staging / f"rank-{rank:05d}.json").unlink()
        write_manifest(staging, save.manifest | {"files": files})
        put_in_place(staging, final_path(self._directory, save.step))
        with suppress(OSError):  # what cannot be deleted costs space; the checkpoint is safe
            forget(self._directory, save.step, self._options.keep_last, self._options.keep_every)

    def _described(self, step: int) -> dict[str, Any]:
        """The files of all ranks; what each tells of its own is written last.

        Raises:
            OSError, ValueError: a rank has not told, or not all.
        """
        staging = staging_path(self._directory, step)
        told = [(staging / f"rank-{rank:05d}.json").read_text() for rank in range(self._world.size)]
        return {name: about for text in told for name, about in json.loads(text).items()}

    def _give_up(self, save: _Save) -> None:
        """A collective call: gather the reasons, drop what was written, say when it is tried again."""
        self._save = None
        self._failures += 1
        self._retry_at = self._next_try(save.step)
        job = save.publish if save.publish is not None and save.publish.error else save.write
        mine = [save.bytes, None if job.error is None else _reason(job.error)]
        told = self._world.tell_all(mine)
        if self._world.is_main:
            shutil.rmtree(staging_path(self._directory, save.step), ignore_errors=True)
        reasons = [f"rank {rank}: {reason}" for rank, (_, reason) in enumerate(told) if reason]
        more = f" (and {len(reasons) - 1} more ranks)" if len(reasons) > 1 else ""
        needed = sum(size for size, _ in told)
        next_try = "" if self._ending else f"; the run goes on, and tries again from step {self._retry_at} on"
        self._say(
            f"warning: the checkpoint of step {save.step} could not be written: {reasons[0]}{more}\n"
            f"  it needs {_gib(needed)} in {self._directory}, where {_gib(_free(self._directory))} are free\n"
            f"  {self._newest()}{next_try}\n"
            "  make room there, or keep fewer:  train.checkpoint.keep_last"
        )

    def _next_try(self, step: int) -> int:
        """One step later, then two, four …, at most as many as between two regular saves."""
        return step + min(2 ** min(self._failures - 1, 20), self._options.every)

    def _newest(self) -> str:
        complete = list_checkpoints(self._directory)
        return (
            f"the newest checkpoint is of step {step_of(complete[-1])}"
            if complete
            else "no checkpoint is complete yet"
        )


def _manifest(
    step: int,
    tensors: Mapping[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """All that it says but the files."""
    names = [name for name, _ in trained(model, optimizer)]
    steps = [optimizer.state[parameter]["step"] for _, parameter in trained(model, optimizer)]
    counted = torch.stack(steps).tolist() if steps else []  # one copy from the GPU, not one each
    return dict(about) | {
        "format": 2,
        "step": step,
        "tensors": {name: [list(t.shape), str(t.dtype)] for name, t in sorted(tensors.items())},
        "optimizer_steps": {name: int(count) for name, count in zip(names, counted, strict=True)},
    }


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}" + (f" ({error.filename})" if error.filename else "")
    return f"{type(error).__name__}: {error}"


def _free(directory: Path) -> int:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return shutil.disk_usage(directory).free


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**24 else f"{count / 2**20:.2f} MiB"
