"""Distributions built as wheels and installed for real, into an environment beside the running one.

The environment is a venv, as on a user's machine: the installer puts distributions in, upgrades them and
takes them out, and commands run with its own Python. What is expensive to install (torch) is seen through
links to the running environment's packages, of which some can be left out, as if never installed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess, Popen

from free_port import free_port

__all__ = ["Environment", "build_wheel", "run_ranks"]


def build_wheel(
    folder: Path, distribution: str, version: str, files: Mapping[str, str], entry_points: str
) -> Path:
    """A wheel of pure Python: an archive of the files and of what describes them (PEP 427).

    Args:
        files: path inside site-packages -> content.
        entry_points: content of ``entry_points.txt``.
    """
    stem = f"{distribution.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    files = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    record = [f"{name},sha256={_digest(content)},{len(content.encode())}" for name, content in files.items()]
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return wheel


def _digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


class Environment:
    """A venv that has what the running one has, but for the packages in ``without``."""

    def __init__(self, folder: Path, without: Collection[str] = ()) -> None:
        self.folder = folder
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / "bin" / "python"
        self.site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        links = folder / "running"
        links.mkdir()
        for place in dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")):
            for entry in Path(place).iterdir():
                if not any(package in entry.name for package in without):
                    (links / entry.name).symlink_to(entry)
        # A path alone would not do: editable installs are .pth files, which only a site folder has read.
        (self.site / "running.pth").write_text(f"import site; site.addsitedir({str(links)!r})\n")

    def install(self, *wheels: Path) -> None:
        self._installer("install", "--no-deps", "--no-index", "--quiet", *map(str, wheels))

    def uninstall(self, distribution: str) -> None:
        confirmed = [] if shutil.which("uv") else ["--yes"]
        self._installer("uninstall", "--quiet", *confirmed, distribution)

    def environment(self, **variables: str) -> dict[str, str]:
        """Variables for a process of this environment: no rank, nothing that adds to its packages."""
        ours = (
            "PYTHON",
            "VIRTUAL_ENV",
            "SPECTRANET",
            "RANK",
            "LOCAL_",
            "WORLD_SIZE",
            "TORCHELASTIC",
            "MASTER_",
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        kept |= {"PATH": f"{self.python.parent}{os.pathsep}{kept.get('PATH', '')}", "OMP_NUM_THREADS": "1"}
        return kept | variables

    def run(self, *arguments: str, timeout_s: float = 120, **variables: str) -> CompletedProcess[str]:
        """``python -m spectranet …``"""
        return subprocess.run(
            [str(self.python), "-m", "spectranet", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=self.folder,
            env=self.environment(**variables),
        )

    def _installer(self, command: str, *arguments: str) -> None:
        if uv := shutil.which("uv"):
            head = [uv, "pip", command, "--python", str(self.python)]
        else:
            head = [sys.executable, "-m", "pip", "--python", str(self.python), command]
        done = subprocess.run([*head, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def run_ranks(
    where: Sequence[Environment], *arguments: str, nodes: int = 1, timeout_s: float = 120, **variables: str
) -> list[CompletedProcess[str]]:
    """``python -m spectranet …`` on ranks as torchrun starts and ends them: with one that has failed.

    Args:
        where: the environment of each rank.
        nodes: how many machines they are on.
    """
    here = len(where) // nodes
    group = {
        "WORLD_SIZE": str(len(where)),
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "TORCHELASTIC_RUN_ID": "none",
    }
    ranks: list[Popen[str]] = []
    told = []
    for rank, environment in enumerate(where):
        command = [str(environment.python), "-m", "spectranet", *arguments]
        mine = group | {"RANK": str(rank), "LOCAL_RANK": str(rank % here)} | variables
        out, err = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115 - read when all have ended
        told.append((out, err))
        env = environment.environment(**mine)
        ranks.append(Popen(command, stdout=out, stderr=err, text=True, env=env, cwd=environment.folder))
    until_s = time.monotonic() + timeout_s
    while any(rank.poll() is None for rank in ranks):
        failed = {place // here for place, rank in enumerate(ranks) if rank.poll()}
        for place, rank in enumerate(ranks):
            if place // here in failed and rank.poll() is None:
                rank.send_signal(signal.SIGTERM)
        if time.monotonic() > until_s:
            for rank in ranks:
                rank.kill()
        time.sleep(0.1)
    ended = []
    for rank, files in zip(ranks, told, strict=True):
        texts = []
        for file in files:
            file.seek(0)
            texts.append(file.read())
            file.close()
        ended.append(CompletedProcess(rank.args, rank.returncode, *texts))
    return ended
