"""What this package brings: the modality ``text`` and the command ``spectranet tokenizer``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spectranet import Modality, hookimpl, lazy
from spectranet_text import values
from spectranet_text.options import TextConfig, problems, source_problems, vocab_size

if TYPE_CHECKING:
    import click

TEXT = Modality(
    name="text",
    config=TextConfig,
    fields=("txt", "text", "caption"),
    decode=values.decode,
    build_transform=values.build_transform,
    collate=lazy("spectranet_text.collate:collate"),
    sample_mask=values.sample_mask,
    build_encoder=lazy("spectranet_text.encoder:TextEncoder"),
    build_target_head=lazy("spectranet_text.target:build_target_head"),
    shard_units=lazy("spectranet_text.encoder:shard_units"),
    flops=lazy("spectranet_text.encoder:forward_flops"),
    vocab_size=vocab_size,
    fingerprint=lazy("spectranet_text.fingerprint:simhash"),
    describe=lazy("spectranet_text.preview:describe"),
    preview=lazy("spectranet_text.preview:preview"),
    largest=values.largest,
    example=values.example,
)


@hookimpl
def spectranet_modalities() -> Iterable[Modality]:
    return (TEXT,)


@hookimpl
def spectranet_check_config(config: Any, training: bool) -> Iterable[str]:
    """Problems of the text options, if a source of this run has text."""
    sources = {**config.data.sources, **config.eval.sources}
    with_text = {name: source for name, source in sources.items() if TEXT.name in source.modalities}
    if not with_text or TEXT.name not in config.modalities:
        return []
    text = config.modalities[TEXT.name]
    return [*problems(text, open_files=training), *source_problems(text, with_text)]


@hookimpl
def spectranet_commands() -> Iterable[click.Command]:
    from spectranet_text.commands import tokenizer

    return (tokenizer,)
