"""Ten hostile artefacts: what each would do if it were read carelessly is touch a file, or show a secret.

Every maker takes the folder to work in and the canary, the path of a file that must never come to exist.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

__all__ = [
    "Bomb",
    "hardlink_tar",
    "names_tar",
    "rewrite_manifest",
    "safetensors",
    "symlink_tar",
    "with_huge_header",
    "with_overlap",
    "with_pickle_as_shard",
    "with_pickled_member",
    "with_pickled_metadata",
]


class Bomb:
    """Unpickling it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.open, (self.canary, os.O_CREAT | os.O_WRONLY)


def with_pickled_metadata(checkpoint: Path, canary: Path) -> None:
    """The ``.metadata`` that torch.distributed.checkpoint would unpickle."""
    (checkpoint / ".metadata").write_bytes(pickle.dumps(Bomb(canary)))


def with_pickle_as_shard(checkpoint: Path, canary: Path) -> None:
    """A pickle under a name of safetensors, with a manifest that vouches for it."""
    _shard(checkpoint).write_bytes(pickle.dumps(Bomb(canary)))
    rewrite_manifest(checkpoint)


def with_pickled_member(checkpoint: Path, canary: Path, name: str) -> None:
    """A pickle as optimizer or random state, which the manifest lists as a file of the checkpoint."""
    (checkpoint / name).write_bytes(pickle.dumps(Bomb(canary)))
    rewrite_manifest(checkpoint, [name])


def with_huge_header(checkpoint: Path) -> None:
    """A header that claims to be 2^60 bytes long."""
    path = _shard(checkpoint)
    path.write_bytes((1 << 60).to_bytes(8, "little") + path.read_bytes()[8:])
    rewrite_manifest(checkpoint)


def with_overlap(checkpoint: Path) -> None:
    """Two tensors that share bytes, and one that reaches beyond the end of the file."""
    path = _shard(checkpoint)
    header, body = _parsed(path)
    first, second = [name for name in header if name != "__metadata__"][:2]
    header[second]["data_offsets"] = header[first]["data_offsets"]
    last = [name for name in header if name != "__metadata__"][-1]
    begin, end = header[last]["data_offsets"]
    header[last]["data_offsets"] = [begin, end + (1 << 40)]
    path.write_bytes(safetensors(header, body))
    rewrite_manifest(checkpoint)


def safetensors(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def rewrite_manifest(checkpoint: Path, more: list[str] | None = None, **changes: Any) -> None:
    """Make manifest and checksum fit the files, as somebody would who wants to be believed."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in {*manifest["files"], *(more or [])}:
        data = (checkpoint / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest | changes))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (checkpoint / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def symlink_tar(path: Path, target: Path) -> None:
    """A sample whose text is a symbolic link to ``target``, beside one good sample."""
    _tar(path, [_link("stolen.txt", str(target), tarfile.SYMTYPE)])


def hardlink_tar(path: Path, target: Path) -> None:
    """The same with a hard link."""
    _tar(path, [_link("stolen.txt", str(target), tarfile.LNKTYPE)])


def names_tar(path: Path, canary: Path) -> None:
    """Members that would be written outside of where they are unpacked, or that name absolute paths."""
    up = "../" * 12 + str(canary).lstrip("/")
    _tar(path, [_file(up, b"x"), _file(str(canary), b"x"), _file("a/../../stolen.txt", b"x")])


def _tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    good = [_file(f"good{i}.txt", f"a good sentence {i}".encode()) for i in range(8)]
    with tarfile.open(path, "w") as tar:
        for info, data in [*good, *members]:
            tar.addfile(info, io.BytesIO(data) if data else None)


def _file(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def _link(name: str, target: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def _shard(checkpoint: Path) -> Path:
    return sorted(checkpoint.glob("*.safetensors"))[0]


def _parsed(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]
