"""``spectranet data index``: what is in these shards?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spectranet.data.index.open import OpenShards

__all__ = ["index"]

_FEW = 10


@click.command("index")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes, or threads for URLs; by itself as fits."
)
@click.option("--checksums", is_flag=True, help="Read all bytes and keep a CRC-32 of every member.")
@click.option("--check", is_flag=True, help="Write nothing; fail where an index is missing or stale.")
@click.option("--cache-dir", default="~/.cache/spectranet", show_default=True, help="As data.cache_dir.")
def index(paths: tuple[str, ...], workers: int | None, checksums: bool, check: bool, cache_dir: str) -> None:
    """Index tar shards, so that training opens them at once and reads them at random.

    PATH is what a source's path may be: a folder of tars, a pattern, a list or a URL of one.

    \b
    spectranet data index shards
    spectranet data index '/data/laion/{00000..00999}.tar' --checksums
    spectranet data index s3://bucket/shards --check

    Indexes that are fresh are left as they are. With --check and --checksums the shards are read and compared
    with their checksums. In training, checksums are compared at every read.
    """
    from spectranet.data.shards import list_together

    listed = {name: list_together(some) for name, some in _by_folder(paths).items()}
    if check:
        from spectranet.data.index.check import unfit

        reasons: dict[str, str] = {}
        for shards in listed.values():
            reasons |= unfit(shards, cache_dir, checksums=checksums, workers=workers)
        count = sum(map(len, listed.values()))
        _fail_on(reasons, count, paths, checksums)
        click.echo(
            f"{count:,} shards have a fresh index" + (" that matches their bytes" if checksums else "")
        )
        return

    from spectranet.data.index.open import How, open_shards

    how = How(checksums=checksums, workers=workers, thorough=True)
    _print({path: open_shards(shards, cache_dir, how) for path, shards in listed.items()})


def _by_folder(paths: tuple[str, ...]) -> dict[str, list[str]]:
    """Shards that are named one by one, as a shell does with ``shards/*.tar``, by the folder that they share.

    What is indexed together is indexed in parallel, and its folder's summary is written once.
    """
    single: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.partition("?")[0].rpartition("/")
        one = name.endswith(".tar") and not set("*[{") & set(path)
        single.setdefault(f"{folder}/*.tar" if one else path, []).append(path)
    return {some[0] if len(some) == 1 else name: some for name, some in single.items()}


def _fail_on(reasons: dict[str, str], shards: int, paths: tuple[str, ...], checksums: bool) -> None:
    """Raises: DataError: there is something to say."""
    from spectranet.errors import DataError

    if reasons:
        lines = [f"  {shard}: {why}" for shard, why in list(reasons.items())[:_FEW]]
        more = [f"  … and {len(reasons) - _FEW} more"] if len(reasons) > _FEW else []
        again = " ".join(f"'{path}'" for path in paths) + (" --checksums" if checksums else "")
        raise DataError(
            "\n".join(
                [
                    f"{len(reasons)} of {shards} shards cannot be used with the index that they have:",
                    *lines,
                    *more,
                    f"  index them:  spectranet data index {again}",
                ]
            )
        )


def _print(opened: dict[str, OpenShards]) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False)
    table.add_column("path", overflow="fold")
    for heading in ("shards", "samples", "bytes", "refused", "broken"):
        table.add_column(heading, justify="right")
    table.add_column("fields", overflow="fold")
    for path, each in opened.items():
        samples = each.samples()
        table.add_row(
            path,
            f"{len(each.shards):,}",
            f"{sum(samples.values()):,}",
            decimal(int(each.shards.size_S.sum())),
            f"{sum(each.refused().values()):,}",
            f"{len(each.broken()):,}",
            ", ".join(sorted({name for fields in samples for name in fields})),
        )
    console.print(table)
    for each in opened.values():
        for reason, count in each.refused().items():
            console.print(f"refused: {count:,} × {reason}", markup=False)
        broken = each.broken()
        for shard, why in list(broken.items())[:_FEW]:
            console.print(f"broken: {shard} {why}", markup=False, soft_wrap=True)
        if len(broken) > _FEW:
            console.print(f"broken: … and {len(broken) - _FEW} more")
