"""``spectranet data index``: what is in these shards?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spectranet.data.index.check import Checked
    from spectranet.data.index.open import OpenShards
    from spectranet.data.shards import ShardList

__all__ = ["index"]

_FEW = 10
_AS_WIDE_AS_NEEDED = 100_000
"""Characters: a path that is broken over two lines cannot be copied."""
_LIMIT = (
    "a run does not start on a source where more than data.failure_limit (by itself 1 %) of its shards are "
    "broken, unless it is only one"
)


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
    from spectranet.data.shards import list_tars

    listed = {name: list_tars(some) for name, some in _by_folder(paths).items()}
    if check:
        _check(listed, paths, cache_dir, checksums=checksums, workers=workers)
        return

    from spectranet.data.index.open import How, open_shards

    how = How(checksums=checksums, workers=workers, thorough=True)
    opened = {path: open_shards(shards, cache_dir, how) for path, shards in listed.items()}
    _print(opened)
    scanned = sum(each.scanned for each in opened.values())
    if checksums and scanned < (count := _shards(listed)):
        click.echo(
            f"{count - scanned:,} of {count:,} shards have a fresh index with checksums and were not read; "
            f"to compare their bytes:  {_command(paths)} --check --checksums"
        )


def _shards(listed: Mapping[str, ShardList]) -> int:
    return sum(map(len, listed.values()))


def _command(paths: tuple[str, ...]) -> str:
    return " ".join(["spectranet data index", *(f"'{path}'" for path in paths)])


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


def _check(
    listed: Mapping[str, ShardList],
    paths: tuple[str, ...],
    cache_dir: str,
    *,
    checksums: bool,
    workers: int | None,
) -> None:
    """Raises: DataError: there is something to say."""
    from spectranet.data.index.check import Checked, check
    from spectranet.errors import DataError

    checked = Checked()
    for shards in listed.values():
        checked |= check(shards, cache_dir, checksums=checksums, workers=workers)
    count = _shards(listed)
    if told := _what_is_wrong(checked, count, paths, checksums):
        raise DataError("\n".join(told))
    whole = " that matches their bytes" if checksums else ""
    click.echo(f"{count:,} shards have a fresh index{whole}" if count != 1 else f"the index is fresh{whole}")


def _what_is_wrong(checked: Checked, count: int, paths: tuple[str, ...], checksums: bool) -> list[str]:
    """Lines: of each kind how many, the first, and what mends it."""
    again = _command(paths) + (" --checksums" if checksums else "")
    lines = []
    if checked.stale:
        lines += _some(f"of {count:,} shards have no fresh index", checked.stale)
    if checked.summaries:
        lines += _some("folder summaries, by which runs open shards, do not fit", checked.summaries)
    if lines:
        lines += [f"  index them:  {again}"]
    if checked.damaged:
        lines += _some(f"of {count:,} shards are not what was indexed", checked.damaged)
        lines += [
            f"  fetch them again, then:  {again}",
            "  or, where the bytes are right and the index is not, delete the shard's .index first",
        ]
    if checked.broken:
        lines += _some(f"of {count:,} shards are broken", checked.broken)
        lines += [f"  fetch them again, then:  {again}", f"  {_LIMIT}"]
    return lines


def _some(what: str, reasons: Mapping[str, str]) -> list[str]:
    named = [f"  {address}: {why}" for address, why in list(reasons.items())[:_FEW]]
    more = [f"  … and {len(reasons) - _FEW:,} more"] if len(reasons) > _FEW else []
    return [f"{len(reasons):,} {what}:", *named, *more]


def _print(opened: dict[str, OpenShards]) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    console = Console(width=_AS_WIDE_AS_NEEDED)
    table = Table(box=None, pad_edge=False)
    table.add_column("path")
    for heading in ("shards", "samples", "bytes", "refused", "broken"):
        table.add_column(heading, justify="right")
    table.add_column("fields")
    for path, each in opened.items():
        samples = each.samples()
        table.add_row(
            path,
            f"{len(each.shards):,}",
            f"{sum(samples.values()):,}",
            decimal(int(each.shards.size_S.sum())),
            f"{sum(each.refused().values()):,}",
            f"{len(each.broken()):,}",
            _few_of(sorted({name for fields in samples for name in fields})),
        )
    console.print(table)
    for each in opened.values():
        for reason, count in each.refused().items():
            click.echo(f"refused: {count:,} × {reason}")
        if broken := each.broken():
            click.echo("\n".join(_some(f"of {len(each.shards):,} shards are broken", broken)))
            click.echo(f"  {_LIMIT}")


def _few_of(names: list[str]) -> str:
    more = [f"… and {len(names) - _FEW:,} more"] if len(names) > _FEW + 1 else []
    return ", ".join([*(names[:_FEW] if more else names), *more])
