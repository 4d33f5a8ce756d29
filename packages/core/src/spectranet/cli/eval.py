"""``spectranet eval``: measure a trained model on held-out data."""

from __future__ import annotations

from pathlib import Path

import click

from spectranet.cli.options import overrides_argument

__all__ = ["eval_"]


@click.command("eval")
@click.argument("run_dir", metavar="RUN")
@overrides_argument
def eval_(run_dir: str, overrides: tuple[str, ...]) -> None:
    """Measure the newest good checkpoint of RUN with its tasks, on its held-out sources.

    KEY=VALUE changes the configuration of the run, for example other sources:

    \b
    spectranet eval runs/demo eval.sources.mine.path=test.jsonl \\
        'eval.sources.mine.modalities=[image,text]'
    """
    from spectranet.config import load_config
    from spectranet.errors import ConfigError

    file = Path(run_dir) / "config.yaml"
    if not file.exists():
        raise ConfigError(
            f"'{run_dir}' is not a run: it has no config.yaml.\n"
            f"  train one:  spectranet train run_dir={run_dir} …"
        )
    resolved = load_config([str(file)], [f"run_dir={run_dir}", *overrides])

    from rich.console import Console
    from rich.table import Table

    from spectranet.inference import load_trained
    from spectranet.tasks.runner import run_tasks

    trained = load_trained(resolved)
    figures = run_tasks(trained.model, resolved.config, trained.parts, resolved.host)
    table = Table("figure", "value", title=f"{run_dir}, step {trained.step}", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
