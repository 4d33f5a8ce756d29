"""Where the documents' commands run: a checkout with a user's data beside it, all of it small."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from commands import ROOT

from spectranet.plugins import FIRST_PARTY, PluginHost
from spectranet_text.training import train_tokenizer

__all__ = ["Done", "Sandbox", "WarmServer", "write_data"]

HERE = Path(__file__).parent
STAND_INS = (
    "kubectl",
    "make",
    "nox",
    "pytest",
    "python",
    "python3",
    "sbatch",
    "sky",
    "spectranet",
    "torchrun",
)
READ = ("Makefile", "benchmarks", "constraints.txt", "demo", "examples", "noxfile.py", "packages", "tests")
WRITTEN = ("docs",)
"""What commands find in a checkout: what none writes is the real one."""
LONGEST_S = 240.0


def write_data(folder: Path) -> None:
    """Everything that the documents call by a name: manifests, tars, a folder of sounds, captions."""
    make, rng = PluginHost.load(FIRST_PARTY).modalities, np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(45_000)]
    captions = [" ".join(words[i : i + 6]) for i in range(0, len(words), 6)] * 2

    def sample(kind: str, extension: str, i: int) -> dict[str, bytes]:
        return {extension: make[kind].example(rng), "txt": captions[i].encode()}

    for name in ("pictures", "held_out"):
        rows = [{"image": f"{name}-{i:04}.jpg", "text": captions[i]} for i in range(24)]
        for row in rows:
            (folder / row["image"]).write_bytes(make["image"].example(rng))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "captions.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in captions))
    train_tokenizer(captions, folder / "tokenizer.model", vocab_size=32_000)
    (folder / "more.csv").write_text("text\n" + "\n".join(captions[:100]) + "\n")
    (folder / "speech").mkdir()
    for i in range(8):
        for extension, content in sample("audio", "wav", i).items():
            (folder / "speech" / f"{i:04}.{extension}").write_bytes(content)
    pictures = [sample("image", "jpg", i) for i in range(2)]
    write_tars(folder / "laion", [f"{i:05}.tar" for i in range(1000)], pictures)
    write_tars(folder / "shards", [f"{i:03}.tar" for i in range(100)], pictures)
    write_tars(folder / "clips", [f"{i:03}.tar" for i in range(20)], [sample("video", "mp4", 0)])
    for kind, extension in (("image", "jpg"), ("video", "mp4"), ("audio", "wav")):
        samples = [sample(kind, extension, i) for i in range(8)]
        write_tars(folder / "data" / f"{kind}-text", [f"{i:03}.tar" for i in range(8)], samples)


def write_tars(folder: Path, names: list[str], samples: list[dict[str, bytes]]) -> None:
    """One tar under many names: what counts here is how many files there are."""
    folder.mkdir(parents=True)
    first, *others = (folder / name for name in names)
    with tarfile.open(first, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, fields in enumerate(samples):
            for extension, content in fields.items():
                member = tarfile.TarInfo(f"{i:04}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    for other in others:
        os.link(first, other)


class WarmServer:
    """The process that runs commands; all that it started ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, HERE / "warm.py", folder], env=os.environ | quiet, start_new_session=True
        )

    def wait_until_ready(self) -> None:
        end = time.monotonic() + LONGEST_S
        while not (self.folder / "ready").exists():
            assert self._process.poll() is None and time.monotonic() < end, "the warm server did not start"
            time.sleep(0.05)

    def training(self) -> list[int]:
        """The processes that train, or did."""
        file = self.folder / "training"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said on both channels."""

    code: int
    said: str


class Sandbox:
    """A folder with links into the checkout, the data, and a PATH on which stand-ins come first."""

    def __init__(self, folder: Path, data: Path, server: WarmServer, files: Mapping[str, str]) -> None:
        self.folder, self.server = folder, server
        folder.mkdir()
        for name in READ:
            (folder / name).symlink_to(ROOT / name)
        for name in WRITTEN:
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "runs", "samples")
            )
        shutil.copytree(data, self.folder, copy_function=os.link, dirs_exist_ok=True)
        for name, text in files.items():
            (self.folder / name).write_text(text)
        self.installed, self.path = folder / ".installed", folder / ".path"
        self.installed.mkdir()
        for name in STAND_INS:
            write_stand_in(self.path / name)
        write_stand_in(folder / ".venv" / "bin" / "nox")

    def environment(self) -> dict[str, str]:
        here = {
            "HEAD": "localhost",
            "INSTALLED": str(self.installed),
            "PATH": f"{self.path}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.installed),
            "REAL_MAKE": shutil.which("make") or "make",
            "REAL_PYTHON": sys.executable,
            "SANDBOX": str(self.folder),
            "SHARED": str(self.folder),
            "WARM_SERVER": str(self.server.folder / "socket"),
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
        }
        quiet = {"COLUMNS": "100", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TERM": "dumb"}
        return {**os.environ, **quiet, **here}

    def run(self, command: str) -> Done:
        """Type it. A training run is stopped after its first record, by the signal that a scheduler sends."""
        before, records = set(self.server.training()), self._records()
        said = self.folder / ".said"
        with said.open("w") as out:
            process = subprocess.Popen(
                ["bash", "-o", "pipefail", "-c", command],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            end, is_stopped = time.monotonic() + LONGEST_S, False
            while process.poll() is None:
                trains = set(self.server.training()) - before
                if trains and not is_stopped and self._records() != records:
                    is_stopped = True
                    with suppress(ProcessLookupError):  # it was done by itself
                        os.kill(min(trains), signal.SIGTERM)  # ranks tell each other
                if time.monotonic() > end:
                    process.kill()
                    process.wait()
                    return Done(-signal.SIGKILL, said.read_text() + f"\nkilled after {LONGEST_S} s")
                time.sleep(0.05)
        return Done(process.returncode, said.read_text())

    def _records(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("runs/*/metrics.jsonl"))


def write_stand_in(path: Path) -> None:
    """A program under the name that it stands for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    call = f"import sys\nsys.path.insert(0, {str(HERE)!r})\nfrom stand_in import main\n\nmain()\n"
    path.write_text(f"#!{sys.executable} -E\n{call}")
    path.chmod(0o755)
