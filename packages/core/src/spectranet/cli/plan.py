"""``spectranet plan``: does a run fit, and what will it cost?"""

from __future__ import annotations

import click

from spectranet.cli.options import config_options

__all__ = ["plan"]


@click.command()
@config_options
@click.option(
    "--gpus", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Devices of the run."
)
@click.option(
    "--gpu",
    "gpu_name",
    default="h100-80gb",
    show_default=True,
    metavar="NAME",
    help="h100-80gb, h200, a100-80gb, or cpu for this machine.",
)
@click.option(
    "--efficiency",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.45,
    show_default=True,
    metavar="SHARE",
    help="Share of a device's peak FLOPs that it reaches while nothing waits.",
)
def plan(
    configs: tuple[str, ...],
    plugins: list[str] | None,
    overrides: tuple[str, ...],
    gpus: int,
    gpu_name: str,
    efficiency: float,
) -> None:
    """Say what a run needs before it is paid for, without the hardware.

    Prints parameters, FLOPs, traffic, and for each setting that does not change the result its memory
    and time on a device, by rehearsing micro-batches with the code that trains on tensors without
    contents. Needs no data: sources may lack a path.

    \b
    spectranet plan --config spectranet-l --gpus 64 --gpu h100-80gb
    spectranet plan --config base --gpus 8 --gpu a100-80gb \\
        'data.sources.pictures.modalities=[image,text]'
    """
    from spectranet.config import load_config
    from spectranet.plan.gpus import find_gpu

    gpu = find_gpu(gpu_name)
    resolved = load_config(configs, overrides, plugins)

    from spectranet.plan.estimate import Assumed
    from spectranet.plan.plan import make_plan
    from spectranet.plan.terminal import as_text

    made = make_plan(
        resolved, gpu, gpus, Assumed(efficiency), begin=lambda line: click.echo(f"{line} …", err=True)
    )
    click.echo(as_text(made), nl=False)
