"""From a configuration to a model: on the meta device first, then weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from spectranet.config.schema import Config, SourceConfig
from spectranet.contracts import BuildContext, Modality, Objective
from spectranet.errors import ConfigError
from spectranet.model.decoder import CrossModalDecoder
from spectranet.model.initialise import materialise
from spectranet.model.spectranet import MemoryBuilder, SpectraNet

__all__ = [
    "Parts",
    "build_model",
    "count_parameters",
    "initialise_model",
    "part_of",
    "parts_of",
    "select_parts",
]


_OF_SEVERAL = ("trunks", "encoders", "objectives")
"""Where the model keeps parts by name."""


@dataclass(frozen=True)
class Parts:
    """What a run uses of what the plugins offer."""

    modalities: dict[str, Modality]
    objectives: dict[str, Objective]
    combinations: tuple[frozenset[str], ...]

    def shard_units(self) -> tuple[type, ...]:
        """Module classes that are sharded and checkpointed one by one."""
        units = {unit for modality in self.modalities.values() for unit in modality.shard_units()}
        return tuple(sorted(units, key=lambda unit: unit.__qualname__))


def select_parts(config: Config, modalities: dict[str, Modality], objectives: dict[str, Objective]) -> Parts:
    """The modalities that occur in training sources, and the objectives that are switched on.

    Raises:
        ConfigError: no source or no objective is configured.
    """
    sources: dict[str, SourceConfig] = config.data.sources
    if not sources:
        raise ConfigError(
            "no training source is configured.\n  add one:  data.sources.pictures.path=pictures.jsonl "
            "'data.sources.pictures.modalities=[image,text]'"
        )
    if not config.objectives:
        raise ConfigError("no objective is configured.\n  add one:  objectives.mmm={}")
    names = sorted({name for source in sources.values() for name in source.modalities})
    combinations = {frozenset(source.modalities) for source in sources.values()}
    return Parts(
        {name: modalities[name] for name in names},
        {name: objectives[name] for name in sorted(config.objectives)},
        tuple(sorted(combinations, key=sorted)),
    )


def build_model(config: Config, parts: Parts) -> SpectraNet:
    """The model on the meta device: every shape, no storage."""
    with torch.device("meta"):
        trunks, trunk_of = _build_trunks(config, parts)
        encoders = {
            name: modality.build_encoder(config.modalities[name], trunks.get(trunk_of.get(name, "")))
            for name, modality in parts.modalities.items()
        }
        widths = {name: int(encoder.width) for name, encoder in encoders.items()}  # type: ignore[arg-type]
        objectives = _build_objectives(config, parts, widths)
        decoder, remembered = config.model.decoder, widths
        if all(objective.needs_global_batch for objective in parts.objectives.values()):
            # Losses over the global batch look at encoders: nobody asks, so nothing is there to answer.
            decoder, remembered = replace(decoder, layers=0), {}
        return SpectraNet(
            encoders,
            trunks,
            trunk_of,
            MemoryBuilder(remembered, decoder.width),
            CrossModalDecoder(decoder),
            objectives,
            frozenset(n for n, objective in parts.objectives.items() if objective.needs_global_batch),
        )


def _build_trunks(config: Config, parts: Parts) -> tuple[dict[str, nn.Module], dict[str, str]]:
    trunks: dict[str, nn.Module] = {}
    trunk_of: dict[str, str] = {}
    for name, modality in parts.modalities.items():
        if modality.trunk is not None:
            trunk_of[name] = modality.trunk.name
            if modality.trunk.name not in trunks:
                trunks[modality.trunk.name] = modality.trunk.build(config.trunks[modality.trunk.name])
    return trunks, trunk_of


def _build_objectives(config: Config, parts: Parts, widths: dict[str, int]) -> dict[str, nn.Module]:
    def build_target_head(name: str) -> nn.Module:
        return parts.modalities[name].build_target_head(config.modalities[name], config.model.decoder.width)

    context = BuildContext(
        width=config.model.decoder.width,
        encoder_widths=widths,
        temporal=tuple(n for n, modality in parts.modalities.items() if modality.temporal),
        vocab_sizes={
            name: modality.vocab_size(config.modalities[name])
            for name, modality in parts.modalities.items()
            if modality.vocab_size is not None
        },
        build_target_head=build_target_head,
        combinations=parts.combinations,
    )
    return {
        name: objective.build(config.objectives[name], context)
        for name, objective in parts.objectives.items()
    }


def initialise_model(model: SpectraNet, seed: int, device: torch.device, sharder: Any = None) -> None:
    """Storage and weights, part by part; ``sharder(module)`` is called on each part when it is ready.

    A part is the unit that must fit on one device whole: a trunk, an encoder, a decoder block. With
    a sharder a 13.7 B model never exists in one place.
    """

    def ready(module: nn.Module, name: str) -> None:
        materialise(module, name, seed, device)
        if sharder is not None:
            sharder(module)

    for kind in _OF_SEVERAL:
        for name, module in getattr(model, kind).items():
            ready(module, f"{kind}.{name}")
    ready(model.memory, "memory")
    for index, block in enumerate(model.decoder.blocks):
        ready(block, f"decoder.blocks.{index}")
    model.decoder.norm.to_empty(device=device)
    model.decoder.norm.reset_parameters()  # type: ignore[operator]


def count_parameters(model: SpectraNet) -> dict[str, int]:
    """Parameters of each trunk and encoder, the memory's projections, the decoder, each objective."""
    return {name: sum(p.numel() for p in module.parameters()) for name, module in parts_of(model).items()}


def parts_of(model: SpectraNet) -> dict[str, nn.Module]:
    """``trunk NAME``, ``encoder NAME``, ``memory``, ``decoder``, ``objective NAME``, as people know them."""
    parts: dict[str, nn.Module] = {f"trunk {name}": module for name, module in model.trunks.items()}
    parts |= {f"encoder {name}": module for name, module in model.encoders.items()}
    parts |= {"memory": model.memory, "decoder": model.decoder}
    return parts | {f"objective {name}": module for name, module in model.objectives.items()}


def part_of(parameter: str) -> str:
    """``encoders.audio`` of ``encoders.audio.layers.0.weight``; ``decoder`` of what is in that."""
    kind, _, rest = parameter.partition(".")
    return f"{kind}.{rest.partition('.')[0]}" if kind in _OF_SEVERAL else kind
