"""``spectranet data inspect``: what is in the data, and what would a run see of it?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectranet.cli.options import config_option, plugins_option

if TYPE_CHECKING:
    from spectranet.config import Resolved

__all__ = ["inspect"]

_PAGE = "data.html"
_OVERRIDE = re.compile(r"[\w-]+(\.[\w-]+)*=")
"""``data.threads=4``; a path may have a ``=`` further on: ``s3://bucket/date=2024/*.tar``."""
_WITHOUT_A_RUN = "runs/inspect"


@click.command()
@plugins_option
@config_option
@click.option("--out", metavar="DIR", help=f"Folder for {_PAGE}. Default: the run's directory.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    metavar="N",
    help="Samples of each source to look at, evenly spread.",
)
@click.argument("words", nargs=-1, metavar="[PATH] [KEY=VALUE]...")
def inspect(
    configs: tuple[str, ...], plugins: list[str] | None, words: tuple[str, ...], out: str | None, samples: int
) -> None:
    """Look at the training data of a configuration, or at a PATH alone.

    Prints counts, sizes and lengths, and the mixture that a run would see; writes a page that also
    shows samples as the model sees them. Reads a sample of the data, never all of it.

    \b
    spectranet data inspect --config tiny --config mine.yaml
    spectranet data inspect 'shards/{000..099}.tar'
    """
    paths = [word for word in words if not _OVERRIDE.match(word) or os.path.exists(word)]
    overrides = [word for word in words if word not in paths]
    if len(paths) > 1:
        raise click.UsageError(
            f"one path at a time; '{paths[0]}' and '{paths[1]}' are two "
            "(several sources stand in a configuration; a pattern wants quotes: 'shards/*.tar')"
        )
    began = time.monotonic()
    resolved, for_a_run = _configuration(configs, overrides, plugins, paths)

    from spectranet.survey.page import survey_page
    from spectranet.survey.survey import make_survey
    from spectranet.survey.terminal import as_text

    survey = make_survey(
        resolved.config,
        resolved.host.modalities,
        list(resolved.host.readers.values()),
        samples=samples,
        for_a_run=for_a_run,
        begin=lambda line: click.echo(f"{line} …", err=True),
    )
    click.echo(as_text(survey), nl=False)
    page = _write(
        Path(out or (resolved.config.run_dir if for_a_run else _WITHOUT_A_RUN)), survey_page(survey)
    )
    click.echo(f"page: {page}  ({time.monotonic() - began:.1f} s)")


def _configuration(
    configs: Sequence[str], overrides: Sequence[str], plugins: list[str] | None, paths: Sequence[str]
) -> tuple[Resolved, bool]:
    """The configuration, and whether it is one of a run rather than guessed from a path."""
    from spectranet.config import load_config

    resolved = load_config(configs, overrides, plugins)
    if not paths:
        return resolved, True

    from spectranet.data.options import OpenOptions
    from spectranet.survey.bare_path import guess_source, source_name

    data, host = resolved.config.data, resolved.host
    options = OpenOptions(cache_dir=data.cache_dir, cache_bytes=0)
    source, notes = guess_source(paths[0], host.modalities, list(host.readers.values()), options)
    name = source_name(paths[0])
    for note in notes:
        click.echo(f"note: {note}", err=True)
    fields = "".join(f" data.sources.{name}.fields.{m}={field}" for m, field in source.fields.items())
    click.echo(
        f"to train on it: data.sources.{name}.path='{paths[0]}' "
        f"'data.sources.{name}.modalities=[{','.join(source.modalities)}]'{fields}",
        err=True,
    )
    config = replace(resolved.config, data=replace(data, sources={name: source}))
    return replace(resolved, config=config), False


def _write(folder: Path, html: str) -> Path:
    from spectranet.errors import ConfigError
    from spectranet.report.document import write_page

    path = folder / _PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_page(path, html)
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be written: {error.strerror or error}\n  choose another folder:  --out DIR"
        ) from error
    return path
