"""Is a checkpoint what was written? Which is the newest that is?

Every byte is read before any is believed: the manifest is compared with its checksum, each file with what
the manifest says of it. Ranks share the files among each other, and threads of a rank its share.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spectranet.train.checkpoint.directory import (
    CHECKSUM,
    MANIFEST,
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    step_of,
)
from spectranet.train.checkpoint.peers import Peers

__all__ = ["find_good_checkpoint", "verify_checkpoint"]

_NAME = re.compile(r"[\w.-]+\.safetensors")
"""No folders: a manifest cannot make us read elsewhere."""

_THREADS = 4


def find_good_checkpoint(
    directory: Path, peers: Peers | None = None, before: int | None = None
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose every byte is as written, and a complaint for each bad newer one.

    Args:
        peers: the other ranks, if they ask at the same time: each reads a share of the files, and all come
            to the same answer. What rank 0 sees in the directory counts.
        before: only those of earlier steps.
    """
    peers = peers or Peers()
    complaints: list[str] = []
    for name in reversed(json.loads(peers.told_by_first(_names(directory, before)))):
        checkpoint, complaint = _judge(directory / name, peers)
        if complaint is None:
            return checkpoint, complaints
        complaints.append(complaint)
    return None, complaints


def verify_checkpoint(path: Path) -> Checkpoint:
    """Read the manifest and compare every file with it.

    Raises:
        CheckpointError: names the file that is missing, short, changed or unexpected.
    """
    checkpoint = read_manifest(path)
    _compare(checkpoint, list(checkpoint.manifest["files"]))
    return checkpoint


def _names(directory: Path, before: int | None) -> str:
    paths = list_checkpoints(directory)
    return json.dumps([path.name for path in paths if before is None or step_of(path) < before])


def _judge(path: Path, peers: Peers) -> tuple[Checkpoint | None, str | None]:
    """The checkpoint, and what is wrong with it: that is the same on every rank."""
    checkpoint, complaint, digest = None, None, None
    try:
        checkpoint = read_manifest(path)
        digest = hashlib.sha256(json.dumps(checkpoint.manifest).encode()).hexdigest()
        _compare(checkpoint, _share(checkpoint.manifest["files"], peers.rank, peers.size))
    except CheckpointError as error:
        complaint = str(error)
    verdicts = [json.loads(text) for text in peers.all_tell(json.dumps([digest, complaint]))]
    for _, theirs in verdicts:
        if theirs is not None:
            return None, theirs
    for rank, (theirs, _) in enumerate(verdicts):
        if theirs != verdicts[0][0]:
            return None, (
                f"checkpoint {path}: rank {rank} sees another {MANIFEST} than rank 0; "
                "run_dir must be on storage that all ranks share"
            )
    return checkpoint, None


def read_manifest(path: Path) -> Checkpoint:
    """The manifest, which is as written, of a directory that holds the files it names, of their sizes.

    Raises:
        CheckpointError: they are not; names the file.
    """
    name = MANIFEST
    try:
        content = (path / MANIFEST).read_bytes()
        name = CHECKSUM
        checksum = (path / CHECKSUM).read_text("ascii")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: {name} cannot be read ({error})") from None
    if checksum != f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n":
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} is not what {CHECKSUM} says (SHA-256 differs)")
    try:
        manifest = json.loads(content)
        int(manifest["step"])
        files = {name: (int(told["bytes"]), str(told["sha256"])) for name, told in manifest["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} cannot be read ({error})") from None
    if strange := [name for name in files if not _NAME.fullmatch(name)]:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} names {strange[0]!r}, which is no tensor file")
    # Other strangers (.DS_Store, .nfs…) are left alone; a tensor file would be read.
    found = {p.name for p in path.iterdir() if p.name in files or p.suffix == ".safetensors"}
    if odd := found ^ set(files):
        raise CheckpointError(f"checkpoint {path}: missing or unexpected file {sorted(odd)[0]}")
    return Checkpoint(path, manifest)


def _share(files: Mapping[str, Any], rank: int, ranks: int) -> list[str]:
    """The files that a rank reads, about as many bytes as any other: the largest go first, one to each."""
    largest_first = sorted(files, key=lambda name: (-files[name]["bytes"], name))
    return largest_first[rank::ranks]


def _compare(checkpoint: Checkpoint, names: Sequence[str]) -> None:
    files = checkpoint.manifest["files"]
    with ThreadPoolExecutor(_THREADS, "verify") as pool:
        told = list(pool.map(lambda name: _complaint(checkpoint.path / name, files[name]), names))
    for name, complaint in zip(names, told, strict=True):
        if complaint is not None:
            raise CheckpointError(f"checkpoint {checkpoint.path}: {name} {complaint}")


def _complaint(path: Path, told: Mapping[str, Any]) -> str | None:
    """What differs between a file and what the manifest says of it."""
    try:
        # A link would lead out of the checkpoint; what it leads to is not ours to read, or to wait for.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != told["bytes"]:
                return f"is not what was written ({size:,} bytes of {told['bytes']:,})"
            if hashlib.file_digest(file, "sha256").hexdigest() != told["sha256"]:
                return "is not what was written (SHA-256 differs)"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None
