"""How does a clause run on several ranks? In processes that torchrun starts, as a training run has them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectranet.testing.clause import BrokenClauseError

__all__ = ["on_ranks"]


def on_ranks(work: str, case: Mapping[str, Any], *, ranks: int = 2, timeout_s: float = 240.0) -> Any:
    """Run ``work`` on every rank, gloo on the CPU; what it returned on rank 0.

    The ranks can import what this process can, for they get its ``sys.path``.

    Args:
        work: ``module:function``; called with ``(case, world: World)`` on each rank, returns JSON.
        case: what the ranks must know to make the same things, such as plugin, name and options; pickles.

    Raises:
        BrokenClauseError: a rank raised, or did not end cleanly or in time; says what and where. Of several
            ranks the one that failed first, since others fail for want of it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "case.pickle").write_bytes(_pickled(case))
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        command = ["-m", *launcher, "-m", "spectranet.testing.rank", work, name]
        code, printed = _finish([sys.executable, *command], timeout_s)
        if raised := _first_raised(folder):
            rank, error = raised
            raise BrokenClauseError(f"rank {rank} of {ranks}: {error}")
        if code != 0:
            how = f"did not end within {timeout_s:.0f} s" if code is None else f"ended with exit code {code}"
            last = "\n    ".join(printed.splitlines()[-15:])
            raise BrokenClauseError(f"{ranks} ranks {how}; their last lines:\n    {last}")
        return json.loads((folder / "0.json").read_text())["returned"]


def _first_raised(folder: Path) -> tuple[str, str] | None:
    """The rank that raised before all others, and what; None where none did."""
    for told in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        outcome = json.loads(told.read_text())
        if "raised" in outcome:
            return told.stem, outcome["raised"]
    return None


def _pickled(case: Mapping[str, Any]) -> bytes:
    try:
        return pickle.dumps(dict(case))
    except Exception as error:
        raise BrokenClauseError(f"ranks cannot be sent {dict(case)!r:.200}: {error}") from error


def _finish(command: list[str], timeout_s: float) -> tuple[int | None, str]:
    """Exit code, None where it was ended for its time, and what was printed."""
    paths = os.pathsep.join(path for path in sys.path if path)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    for inherited in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        env.pop(inherited, None)
    # A group of its own: torchrun that is killed would leave its ranks behind.
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        printed, _ = process.communicate(timeout=timeout_s)
        return process.returncode, printed
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
