"""``spectranet tokenizer``: train a tokenizer, and look at what it makes of a text."""

from __future__ import annotations

import shlex

import click


@click.group()
def tokenizer() -> None:
    """Train a SentencePiece tokenizer, or see how it cuts a text."""


@tokenizer.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--vocab-size",
    type=click.IntRange(min=1),
    default=32_000,
    show_default=True,
    help="Pieces, specials and bytes included.",
)
@click.option("--output", default="tokenizer.model", show_default=True, help="File to write.")
@click.option("--column", default="text", show_default=True, help="Column with the text, in .jsonl and .csv.")
@click.option("--field", default="txt", show_default=True, help="Extension of the text, in .tar.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Keep only these rows; may be repeated.")
@click.option(
    "--character-coverage",
    type=click.FloatRange(0.9, 1.0),
    help="Share of characters that get a piece; the rest falls back to bytes.  "
    "[default: 1.0; from a million lines on, 0.9995]",
)
@click.option(
    "--sentences",
    type=click.IntRange(min=1000),
    default=10_000_000,
    show_default=True,
    help="Lines kept in memory; of more, a random sample.",
)
def train(
    inputs: tuple[str, ...],
    vocab_size: int,
    output: str,
    column: str,
    field: str,
    where: tuple[str, ...],
    character_coverage: float | None,
    sentences: int,
) -> None:
    """Train a tokenizer on text files, manifests or tar shards.

    INPUT is any number of .txt (a text a line), .jsonl, .csv, .tar and .tar.gz files.
    """
    from spectranet import ConfigError
    from spectranet_text.corpus import Corpus
    from spectranet_text.training import VocabularyError, train_tokenizer

    corpus = Corpus(inputs, column=column, extension=field, where=_conditions(where))
    try:
        train_tokenizer(
            corpus.lines(),
            output,
            vocab_size=vocab_size,
            coverage=character_coverage,
            sentences=sentences,
        )
    except VocabularyError as error:
        raise ConfigError(f"{error}\n  run:  {_again(error.possible)}") from error
    skipped = f", {corpus.skipped:,} skipped (no text, not UTF-8, or too large)" if corpus.skipped else ""
    click.echo(f"{output}: {vocab_size:,} pieces from {corpus.texts:,} texts{skipped}")
    click.echo(f"  use it:  spectranet train ... modalities.text.tokenizer={shlex.quote(output)}")


@tokenizer.command()
@click.argument("model")
@click.argument("text")
def encode(model: str, text: str) -> None:
    """Show the pieces of TEXT and their ids; MODEL is a file or 'bytes'."""
    from spectranet_text.tokenizer import open_tokenizer

    opened = open_tokenizer(model)
    ids = opened.encode(text)
    for index in ids:
        click.echo(f"{index:>6}  {opened.piece(index)}")
    click.echo(f"{len(ids)} of {opened.vocab_size:,} pieces; back to text: {opened.decode(ids)}")


def _conditions(where: tuple[str, ...]) -> dict[str, str]:
    conditions = {}
    for condition in where:
        column, equals, value = condition.partition("=")
        if not (column and equals):
            raise click.BadParameter(f"'{condition}' is not COLUMN=VALUE", param_hint="--where")
        conditions[column] = value
    return conditions


def _again(vocab_size: int) -> str:
    """The command as it was given, with another vocabulary size."""
    context = click.get_current_context()
    words = ["spectranet", "tokenizer", "train", "--vocab-size", str(vocab_size)]
    for name, flag in (
        ("output", "--output"),
        ("column", "--column"),
        ("field", "--field"),
        ("character_coverage", "--character-coverage"),
        ("sentences", "--sentences"),
    ):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            words += [flag, str(context.params[name])]
    for condition in context.params["where"]:
        words += ["--where", condition]
    return shlex.join([*words, *context.params["inputs"]])
