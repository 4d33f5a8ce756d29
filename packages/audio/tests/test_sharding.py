"""FSDP2 on two ranks: same tokens and gradients as unsharded, odd shapes included."""

from __future__ import annotations

import importlib
import multiprocessing
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_ranks_give_the_unsharded_tokens_and_gradients(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).with_name("ranks"))
    run = importlib.import_module("sharded_encoder").run
    context = multiprocessing.get_context("forkserver")
    # Imported once, then forked: importing is most of what this test does.
    context.set_forkserver_preload(["spectranet_audio.encoder", "torch.distributed.fsdp"])
    ranks = [context.Process(target=run, args=(rank, 2, str(tmp_path / "store"))) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout=200)
    assert [rank.exitcode for rank in ranks] == [0, 0]
