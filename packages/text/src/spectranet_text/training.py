"""Training a SentencePiece model with our specials.

The same texts in the same order give the same file, byte for byte.
"""

from __future__ import annotations

import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from spectranet import ConfigError
from spectranet_text.tokenizer import BOS, EOS, PAD, SPECIALS, UNK

# Fixed rather than the machine's cores: the number of threads decides the order of float sums.
_THREADS = 8
_SEED = 0
_MANY_LINES = 1_000_000
_LONGEST_LINE = 1 << 20  # bytes; SentencePiece drops longer lines, and 4192 is its own limit
_TOO_MANY = re.compile(r"Vocabulary size too high \(\d+\)\. Please set it to a value <= (\d+)")
_TOO_FEW = re.compile(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)")


class VocabularyError(ConfigError):
    """The texts do not support a vocabulary of the size asked for.

    Attributes:
        possible: the nearest size that works.
    """

    def __init__(self, message: str, possible: int) -> None:
        super().__init__(message)
        self.possible = possible


def train_tokenizer(
    lines: Iterable[str],
    output: str | os.PathLike[str],
    *,
    vocab_size: int,
    coverage: float | None = None,
    sentences: int = 10_000_000,
) -> None:
    """Train a unigram model (Kudo 2018) on ``lines`` and write it to ``output``, all or nothing.

    Text is normalised by NFKC. What has no piece of its own falls back to its bytes, so that nothing
    is unknown.

    Args:
        vocab_size: pieces, with the five specials and 256 bytes.
        coverage: share of the occurrences of characters that get pieces of their own; None takes
            1.0, or 0.9995 from a million lines on, where every script occurs somewhere.
        sentences: lines kept in memory; of more, a random sample with a fixed seed is taken.

    Raises:
        VocabularyError: the texts do not support this size.
        ConfigError: there are no texts, or the trainer refuses them.
    """
    model = _train(lines, vocab_size, coverage, sentences)
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(model)
    partial.replace(path)


def _train(lines: Iterable[str], vocab_size: int, coverage: float | None, sentences: int) -> bytes:
    import sentencepiece

    rest = iter(lines)
    head = list(itertools.islice(rest, _MANY_LINES))
    if not head:
        raise ConfigError("there is no text to train a tokenizer on.")
    if coverage is None:
        coverage = 1.0 if len(head) < _MANY_LINES else 0.9995
    feed = _Feed(itertools.chain(head, rest))
    del head
    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(_SEED)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(feed),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            character_coverage=coverage,
            byte_fallback=True,
            normalization_rule_name="nfkc",
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=SPECIALS[PAD],
            unk_piece=SPECIALS[UNK],
            bos_piece=SPECIALS[BOS],
            eos_piece=SPECIALS[EOS],
            # A control symbol, unlike a user-defined one, is never made from text that spells it.
            control_symbols=list(SPECIALS[EOS + 1 :]),
            input_sentence_size=sentences,
            shuffle_input_sentence=True,
            max_sentence_length=_LONGEST_LINE,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise feed.error or _explained(str(error), vocab_size) from error
    return model.getvalue()


class _Feed:
    """Hands lines to the trainer, and keeps an error that its C++ would turn into text."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = lines
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self.lines
        except Exception as error:
            self.error = error
            raise


def _explained(message: str, vocab_size: int) -> ConfigError:
    if found := _TOO_MANY.search(message):
        possible = int(found[1])
        return VocabularyError(
            f"these texts support a vocabulary of at most {possible} pieces, not {vocab_size}.", possible
        )
    if found := _TOO_FEW.search(message):
        possible = int(found[1])
        return VocabularyError(
            f"these texts need a vocabulary of at least {possible} pieces, not {vocab_size}: every character "
            "and every byte is one.",
            possible,
        )
    return ConfigError(f"SentencePiece cannot train on these texts: {message}")
