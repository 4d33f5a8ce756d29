"""``spectranet reproduce``: run a step again that was not finite, and say where that began."""

from __future__ import annotations

from pathlib import Path

import click

from spectranet.cli.options import overrides_argument

__all__ = ["reproduce"]


@click.command()
@click.argument("step_dir", metavar="STEP")
@overrides_argument
@click.option(
    "--checkpoint", metavar="DIR", help="Weights to run on; default: the newest from before the step."
)
def reproduce(step_dir: str, overrides: tuple[str, ...], checkpoint: str | None) -> None:
    """Run a skipped step of a run again and name the first module, loss or gradient that is not finite.

    It runs in this process alone, with the batches of all ranks, forward and backward:

    \b
    spectranet reproduce runs/demo/skipped/step-00000012
    spectranet reproduce runs/demo/skipped/step-00000012 train.precision=fp32 train.device=cpu
    """
    from spectranet.config import load_config
    from spectranet.train.faults.skipped import read_skipped, read_step

    folder = Path(step_dir)
    read_step(folder)
    run_dir = folder.absolute().parent.parent
    resolved = load_config([str(folder / "config.yaml")], [f"run_dir={run_dir}", *overrides])

    from spectranet.train.faults.reproduce import replay

    for line in replay(read_skipped(folder), resolved, Path(checkpoint) if checkpoint else None).lines():
        click.echo(line)
