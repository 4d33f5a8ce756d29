"""What can be set about text, and which settings cannot work together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectranet import ConfigError, option
from spectranet_text.tokenizer import Tokenizer, open_tokenizer, train_command

_SHORTEST = 3  # bos, one piece, eos
_POOLS = ("mean", "first")
# Our option -> its name in a BERT folder's config.json.
_SIZES = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_hidden": "intermediate_size",
}


@dataclass
class TextConfig:
    tokenizer: str = option("bytes", "'bytes', or path of a SentencePiece .model")
    vocab_size: int | None = option(None, "must equal the tokenizer's; null takes it from there")
    max_tokens: int = option(1024, "longer texts are cut; begin and end of text count")
    width: int = option(256, "width of the encoder")
    layers: int = option(4, "number of blocks")
    heads: int = option(4, "attention heads")
    mlp_hidden: int = option(1024, "hidden width of the MLP")
    pool: str = option("mean", "vector of a whole text: mean of the visible tokens, or the first token")
    pretrained: str = option("", "folder of a BERT saved by transformers; empty starts from random")
    mask_id: int = option(4, "id whose embedding stands for hidden tokens (103 in Google's BERT)")


def vocab_size(config: TextConfig) -> int:
    """Ids that exist: the option, or, where it is null, what the tokenizer says.

    With the option set, a model can be built where the tokenizer's file is not at hand.
    """
    return open_tokenizer(config.tokenizer).vocab_size if config.vocab_size is None else config.vocab_size


def checked_tokenizer(config: TextConfig) -> Tokenizer:
    """The tokenizer of ``config``.

    Raises:
        ConfigError: its file is missing, or its size is not the configured one.
    """
    tokenizer = open_tokenizer(config.tokenizer)
    if config.vocab_size not in (None, tokenizer.vocab_size):
        raise ConfigError(
            f"modalities.text.vocab_size is {config.vocab_size}, but tokenizer '{config.tokenizer}' has "
            f"{tokenizer.vocab_size} pieces.\n"
            f"  train one of that size:  {train_command('tokenizer.model', config.vocab_size)}\n"
            "  and name it:  modalities.text.tokenizer=tokenizer.model\n"
            "  or use the tokenizer's size:  modalities.text.vocab_size=null"
        )
    return tokenizer


def problems(config: TextConfig, open_files: bool = True) -> Iterator[str]:
    """Everything that is wrong with ``config``, a message each.

    Args:
        open_files: whether the tokenizer must be at hand. Without it a model whose vocab_size is
            given can be built and planned, as the large presets are before there is any data.
    """
    if config.max_tokens < _SHORTEST:
        yield f"modalities.text.max_tokens is {config.max_tokens}; the least is {_SHORTEST}."
    for name in _SIZES:
        if getattr(config, name) < 1:
            yield f"modalities.text.{name} is {getattr(config, name)}; the least is 1."
    if config.heads >= 1 and config.width % config.heads:
        yield f"modalities.text.width {config.width} is not a multiple of heads {config.heads}."
    if config.pool not in _POOLS:
        yield f"modalities.text.pool is '{config.pool}'; it is one of {', '.join(_POOLS)}."
    try:
        known = config.vocab_size is not None and not open_files
        size = int(config.vocab_size or 0) if known else checked_tokenizer(config).vocab_size
    except ConfigError as problem:
        yield str(problem)
        return
    if not 0 <= config.mask_id < size:
        yield f"modalities.text.mask_id is {config.mask_id}, outside the vocabulary of {size} pieces."
    yield from pretrained_problems(config, size)


def source_problems(config: TextConfig, sources: Mapping[str, Any]) -> Iterator[str]:
    """What single sources may not override: all of them feed the same encoder."""
    for name, source in sources.items():
        for key, value in dict(source.overrides.get("text") or {}).items():
            if key != "max_tokens":
                yield f"source '{name}' overrides text.{key}; a source can only lower text.max_tokens."
            elif not _SHORTEST <= value <= config.max_tokens:
                yield (
                    f"source '{name}' sets text.max_tokens to {value}; it must lie between {_SHORTEST} and "
                    f"modalities.text.max_tokens, {config.max_tokens}."
                )


def pretrained_problems(config: TextConfig, size: int) -> Iterator[str]:
    """Where the options contradict the weights in ``config.pretrained``.

    Args:
        size: the vocabulary in use.
    """
    if not config.pretrained:
        return
    path = Path(config.pretrained) / "config.json"
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield (
            f"modalities.text.pretrained: no BERT in '{config.pretrained}' ({path.name}: {error}).\n"
            "  give a folder that transformers' save_pretrained() wrote"
        )
        return
    if saved.get("model_type") != "bert":
        found = saved.get("model_type")
        yield f"modalities.text.pretrained: '{config.pretrained}' holds '{found}', not 'bert'."
        return
    differing = {name: saved[key] for name, key in _SIZES.items() if saved[key] != getattr(config, name)}
    if differing:
        yield (
            f"modalities.text does not fit the weights in '{config.pretrained}'.\n  set:  "
            + " ".join(f"modalities.text.{name}={value}" for name, value in differing.items())
        )
    if saved["vocab_size"] != size:
        yield (
            f"modalities.text: the weights in '{config.pretrained}' have {saved['vocab_size']} pieces, "
            f"tokenizer '{config.tokenizer}' has {size}; they must be equal."
        )
    if saved["max_position_embeddings"] < config.max_tokens:
        yield (
            f"modalities.text.max_tokens is {config.max_tokens}; the weights in '{config.pretrained}' reach "
            f"{saved['max_position_embeddings']}.\n"
            f"  set:  modalities.text.max_tokens={saved['max_position_embeddings']}"
        )
