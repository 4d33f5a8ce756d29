"""Where do checkpoints lie, which are complete, and which may go?"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectranet.errors import SpectraNetError

__all__ = [
    "CHECKSUM",
    "MANIFEST",
    "Checkpoint",
    "CheckpointError",
    "clear",
    "final_path",
    "forget",
    "list_checkpoints",
    "put_in_place",
    "staging_path",
    "step_of",
    "sync_directory",
    "write_manifest",
]

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"
"""Of the manifest, as ``sha256sum --check`` reads it."""


class CheckpointError(SpectraNetError):
    """A checkpoint is damaged, incomplete or does not fit the model."""

    same_on_all_ranks = True


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done when it was written."""
        return int(self.manifest["step"])


def final_path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:08d}"


def staging_path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:08d}.tmp"


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoint directories, the oldest first."""
    if not directory.is_dir():
        return []
    found = [p for p in directory.iterdir() if re.fullmatch(r"step-\d{8,}", p.name) and p.is_dir()]
    return sorted(found, key=step_of)


def clear(directory: Path) -> None:
    """Remove what saves that did not end have left."""
    for path in directory.glob("step-*.*"):
        if re.fullmatch(r"step-\d{8,}\.(tmp|old)", path.name):
            shutil.rmtree(path, ignore_errors=True)


def write_manifest(staging: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest and checksum, and make both durable, with the names of all files."""
    text = json.dumps(manifest, indent=1) + "\n"
    checksum = f"{hashlib.sha256(text.encode()).hexdigest()}  {MANIFEST}\n"
    for name, content in ((MANIFEST, text), (CHECKSUM, checksum)):
        with (staging / name).open("w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    sync_directory(staging)


def put_in_place(staging: Path, final: Path) -> None:
    """Rename, keeping what stood there before until the new one has its name."""
    old = final.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    staging.rename(final)
    sync_directory(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def forget(directory: Path, step: int, keep_last: int, keep_every: int = 0) -> None:
    """Delete all but the newest ``keep_last`` up to ``step``, and those beyond it.

    Checkpoints of later steps are what an earlier life of the run left when it fell back.

    Args:
        keep_every: those of the multiples of so many steps stay for ever; 0: none.
    """
    complete = list_checkpoints(directory)
    upto = [path for path in complete if step_of(path) <= step]
    beyond = [path for path in complete if step_of(path) > step]
    old = [path for path in upto[:-keep_last] if not (keep_every and step_of(path) % keep_every == 0)]
    for path in [*old, *beyond]:
        if path.is_symlink():
            path.unlink()
        else:  # a kill may come in between, and what is half deleted is no checkpoint
            leaving = path.with_suffix(".old")
            shutil.rmtree(leaving, ignore_errors=True)
            shutil.rmtree(path.rename(leaving))


def sync_directory(path: Path) -> None:
    """Make the names in it durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
