"""Run a script in its own process, or on several ranks, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["launch"]


def launch(script: Path | str, *arguments: object, ranks: int = 1, timeout_s: float = 240) -> str:
    """Returns what it printed; fails the test with all of it when the exit code is not 0."""
    head = [sys.executable]
    if ranks > 1:
        head += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*head, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout_s)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
