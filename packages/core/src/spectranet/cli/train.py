"""``spectranet train``: train a model."""

from __future__ import annotations

import os

import click

from spectranet.cli.options import config_options

__all__ = ["train"]


@click.command()
@config_options
def train(configs: tuple[str, ...], plugins: list[str] | None, overrides: tuple[str, ...]) -> int:
    """Train a model, alone or on each rank of torchrun.

    \b
    spectranet train --plugins vision,text --config tiny run_dir=runs/first \\
        data.sources.pictures.path=pictures.jsonl \\
        'data.sources.pictures.modalities=[image,text]'
    torchrun --nproc-per-node 8 -m spectranet train --config base …
    """
    # Now, not after seconds of imports: torchrun may die meanwhile.
    launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    from spectranet.config import load_config
    from spectranet.errors import SpectraNetError

    try:
        resolved = load_config(list(configs), list(overrides), plugins, training=True)
    except SpectraNetError as error:
        if _has_ranks_elsewhere():
            from spectranet.train.checkpoint.peers import tell_cannot_start

            tell_cannot_start(error)
        raise

    from spectranet.train.run import train as run_training
    from spectranet.train.set_up import set_up
    from spectranet.train.stopping.ending import Stopped, say

    try:
        run = set_up(resolved, launcher)
    except Stopped as stopped:
        say("ended by a signal before the first step; the same command goes on")
        return stopped.code
    try:
        with run.heartbeat.explaining():
            code = run_training(run)
        run.heartbeat.close(code)
        return code
    finally:
        run.saver.finish_alone()
        run.stream.close()
        run.journal.close()


def _has_ranks_elsewhere() -> bool:
    """Whether there may be other machines, on which what is wrong here is not wrong."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    return ranks > int(os.environ.get("LOCAL_WORLD_SIZE", 1))
