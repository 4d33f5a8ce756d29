"""From opened sources and a configuration to pipelines."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectranet.config import Config
from spectranet.contracts import Modality
from spectranet.data.ahead import Ahead
from spectranet.data.order import Order
from spectranet.data.pipeline import Pipeline, Viewer
from spectranet.data.source import Source
from spectranet.errors import ConfigError, PluginError

__all__ = ["build_pipelines", "modality_config"]


def build_pipelines(
    sources: Sequence[Source],
    config: Config,
    modalities: Mapping[str, Modality],
    *,
    train: bool,
    ratios: Mapping[str, float],
) -> list[Pipeline]:
    """A pipeline for each source; ``ratios`` are the shares of tokens to hide.

    Raises:
        ConfigError: a modality's options cannot be used; lists every problem.
        PluginError: a transform does not pickle.
    """
    pipelines: list[Pipeline] = []
    problems: list[str] = []
    for source in sources:
        viewers = []
        for name in source.modalities:
            modality, overrides = modalities[name], source.overrides.get(name, {})
            try:
                options = modality_config(modality, config.modalities.get(name), overrides)
                viewer = Viewer.of(modality, options, train=train, ratio=ratios.get(name, 0.0))
            except ConfigError as error:
                problems.append(f"source '{source.name}': {error}" if overrides else str(error))
                continue
            _check_pickles(viewer)
            viewers.append(viewer)
        order = Order(config.train.seed, source.name, source.parts, config.data.window_shards)
        pipelines.append(Pipeline(source, tuple(viewers), order, Ahead(source.samples, order)))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return pipelines


def modality_config(modality: Modality, options: Any, overrides: Mapping[str, Any]) -> Any:
    """A modality's options (its dataclass, a mapping, or None) with those of a source on top.

    Raises:
        ConfigError: an option is unknown or has a value of the wrong type.
    """
    layers = [OmegaConf.structured(options if is_dataclass(options) else modality.config)]
    if options is not None and not is_dataclass(options):
        layers.append(options)
    try:
        return OmegaConf.to_object(OmegaConf.merge(*layers, dict(overrides)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"overrides of modality '{modality.name}': {reason}") from error


def _check_pickles(viewer: Viewer) -> None:
    """Fail here, by name, rather than in a worker on the one platform that does not fork."""
    try:
        pickle.dumps(viewer.transform)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise PluginError(f"the transform of modality '{viewer.name}' does not pickle: {error}") from error
