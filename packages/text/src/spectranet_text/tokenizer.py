"""Text to ids and back.

The first five ids mean the same in every tokenizer, so that masks and captions need not ask which
one is in use.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from spectranet import ConfigError

__all__ = ["BOS", "EOS", "MASK", "PAD", "SPECIALS", "UNK", "Tokenizer", "open_tokenizer", "train_command"]

PAD, UNK, BOS, EOS, MASK = range(5)
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back; pickles to data-loading workers."""

    @property
    def vocab_size(self) -> int:
        """Ids that exist, the specials included."""

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``, without begin and end."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; specials are left out."""

    def piece(self, index: int) -> str:
        """How one id reads."""


@dataclass(frozen=True)
class ByteTokenizer:
    """One id a byte of UTF-8, after the specials: needs no training and no file."""

    @property
    def vocab_size(self) -> int:
        return len(SPECIALS) + 256

    def encode(self, text: str) -> list[int]:
        return [byte + len(SPECIALS) for byte in text.encode()]

    def decode(self, ids: Iterable[int]) -> str:
        kept = bytes(index - len(SPECIALS) for index in ids if index >= len(SPECIALS))
        # A generated or cut sequence may end inside a character.
        return kept.decode(errors="replace")

    def piece(self, index: int) -> str:
        return SPECIALS[index] if index < len(SPECIALS) else f"<0x{index - len(SPECIALS):02X}>"


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """A SentencePiece model (Kudo and Richardson 2018) from a file.

    Only the path is pickled; the file is read at the first use in each process.
    """

    path: str

    @functools.cached_property
    def _processor(self) -> Any:
        return _load(self.path)

    def __getstate__(self) -> dict[str, str]:
        return {"path": self.path}

    @property
    def vocab_size(self) -> int:
        return int(self._processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)  # type: ignore[no-any-return]

    def decode(self, ids: Iterable[int]) -> str:
        return self._processor.decode([int(index) for index in ids if index >= len(SPECIALS)])  # type: ignore[no-any-return]

    def piece(self, index: int) -> str:
        return self._processor.id_to_piece(index)  # type: ignore[no-any-return]


def open_tokenizer(spec: str) -> Tokenizer:
    """``"bytes"``, or the SentencePiece model at that path.

    Raises:
        ConfigError: there is no such file, or it is not a model with our specials.
    """
    if spec == "bytes":
        return ByteTokenizer()
    tokenizer = SentencePieceTokenizer(spec)
    _check_specials(tokenizer)
    return tokenizer


def _load(path: str) -> Any:
    import sentencepiece

    if not Path(path).is_file():
        raise ConfigError(
            f"modalities.text.tokenizer: there is no file '{path}'.\n"
            f"  train one:  {train_command(path)}\n"
            "  or do without:  modalities.text.tokenizer=bytes"
        )
    try:
        return sentencepiece.SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"modalities.text.tokenizer: '{path}' is not a SentencePiece model ({error}).\n"
            f"  train one:  {train_command('tokenizer.model')}"
        ) from error


def _check_specials(tokenizer: SentencePieceTokenizer) -> None:
    shown = range(min(len(SPECIALS), tokenizer.vocab_size))
    found = tuple(tokenizer.piece(index) for index in shown)
    if found != SPECIALS:
        raise ConfigError(
            f"modalities.text.tokenizer: '{tokenizer.path}' begins with pieces {' '.join(found)}; "
            f"SpectraNet needs {' '.join(SPECIALS)}.\n"
            f"  train one:  {train_command('tokenizer.model')}"
        )


def train_command(path: str, vocab_size: int | None = None) -> str:
    """What to type to get a tokenizer at ``path``."""
    return f"spectranet tokenizer train --vocab-size {vocab_size or 32_000} --output {path} INPUT..."
