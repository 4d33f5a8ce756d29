"""What is said of a source's path where there is nothing, or nothing that can be used?"""

from __future__ import annotations

import glob
import os
from collections import Counter

from spectranet.errors import not_there

__all__ = ["COMPRESSED", "is_manifest", "missing_source", "no_tars_in"]

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MANIFESTS = (".jsonl", ".ndjson", ".csv", ".tsv")
_FEW = 4
"""Extensions that a message names."""
_LOOKED_AT = 10_000
"""Entries of a folder that are looked at for a message."""


def is_manifest(path: str) -> bool:
    """Whether it is one by its name."""
    return path.lower().endswith(_MANIFESTS)


def missing_source(path: str) -> str:
    """Names the path, a near name beside it, and the absolute path that was looked at.

    A URL comes here only where it is none of shards, of which anything but shards is told.
    """
    if "://" in path:
        return f"'{path}': manifests and folders are read from local disks; shards (*.tar) from anywhere"
    return not_there(path, "source paths are relative to the working directory")


def no_tars_in(path: str) -> str:
    """Why a path, which may be a folder or a pattern, stands for no shard; says what is there instead."""
    folder = os.path.expanduser(path)
    if "://" in path or not os.path.isdir(folder):
        looked_at = path if "://" in path else os.path.abspath(folder)
        return f"no tar shard matches '{path}'\n  looked at: {looked_at}"
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_LOOKED_AT), strict=False)]
    except OSError as error:
        return f"folder '{path}' cannot be listed: {error.strerror or error}"
    if not names:
        return f"folder '{path}' is empty"
    if compressed := [name for name in names if name.lower().endswith(COMPRESSED)]:
        return (
            f"folder '{path}' holds compressed tars ('{min(compressed)}'), which cannot be read at random; "
            "decompress them"
        )
    if glob.glob(f"{glob.escape(folder)}/*/*.tar"):
        return f"folder '{path}' has its tars one level below; name them:  '{path.rstrip('/')}/*/*.tar'"
    return (
        f"folder '{path}' holds no *.tar, but {_kinds(names)}: a folder of files or a manifest needs no index"
    )


def _kinds(names: list[str]) -> str:
    """``.png, .txt`` of files, the commonest first."""
    counted = Counter(os.path.splitext(name)[1].lower() or "names without extension" for name in names)
    kinds = [kind for kind, _ in counted.most_common()]
    return ", ".join([*kinds[:_FEW], *(["…"] if len(kinds) > _FEW else [])])
