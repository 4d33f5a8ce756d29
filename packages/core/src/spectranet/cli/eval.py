"""``spectranet eval``: measure a trained model on held-out data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectranet.cli.options import overrides_argument

if TYPE_CHECKING:
    from spectranet.config import Config

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
    if problems := _nothing_to_measure(run_dir, resolved.config, resolved.host.tasks):
        raise ConfigError("\n".join(problems))

    from rich.console import Console
    from rich.table import Table

    from spectranet.inference import load_trained
    from spectranet.tasks.runner import run_tasks

    trained = load_trained(resolved)
    figures = run_tasks(trained.model, resolved.config, trained.parts, resolved.host, trained.world)
    table = Table("figure", "value", title=f"{run_dir}, step {trained.step}", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def _nothing_to_measure(run_dir: str, config: Config, tasks: Iterable[str]) -> list[str]:
    """Why there would be no figure, each with the command that gives one."""
    problems = []
    if not config.eval.sources:
        trained = next(iter(config.data.sources.values()), None)
        modalities = ",".join(trained.modalities if trained else config.modalities)
        problems.append(
            f"'{run_dir}' has no held-out source to measure on; name one:\n"
            f"  spectranet eval {run_dir} eval.sources.mine.path=… "
            f"'eval.sources.mine.modalities=[{modalities}]'"
        )
    if not config.tasks:
        known = sorted(tasks)
        problems.append(
            f"'{run_dir}' has no task to measure with; enable one of {', '.join(known) or 'a plugin'}:\n"
            f"  spectranet eval {run_dir} 'tasks.{known[0] if known else 'NAME'}={{}}'"
        )
    return problems
