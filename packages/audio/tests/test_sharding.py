"""FSDP2 on two ranks: same tokens and gradients as unsharded, odd shapes included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RANK_PROGRAM = Path(__file__).with_name("ranks") / "sharded_encoder.py"


@pytest.mark.slow
def test_two_ranks_give_the_unsharded_tokens_and_gradients() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(RANK_PROGRAM)], capture_output=True, text=True, env=env, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == 2
