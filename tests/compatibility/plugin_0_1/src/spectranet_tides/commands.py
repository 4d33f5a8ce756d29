"""``spectranet tides``: write samples, to have something to train on."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def tides() -> None:
    """Water levels of tide gauges."""


@tides.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--count", default=24, show_default=True, help="Number of samples.")
@click.option("--seed", default=0, show_default=True, help="Other numbers give other samples.")
def samples(file: Path, count: int, seed: int) -> None:
    """Write a logbook: a remark a line, and the levels that it is about."""
    import numpy as np

    from spectranet_tides.series import example

    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        levels = example(rng).decode()
        mean = sum(map(float, levels.split())) / len(levels.split())
        lines.append(f"{'high' if mean > 0 else 'low'} water\t{levels}\n")
    file.write_text("".join(lines), encoding="utf-8")
    click.echo(f"{count} samples in {file}")
