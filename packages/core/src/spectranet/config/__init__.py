"""What can be set, and where do values come from?

The schema is at hand at once; what reads and merges (and needs OmegaConf) when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spectranet.config.schema import (
    CheckpointConfig,
    Config,
    DataConfig,
    DecoderConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    SourceConfig,
    TrainConfig,
    option,
)

if TYPE_CHECKING:
    from spectranet.config.merge import (
        Resolved,
        config_from_dict,
        config_to_dict,
        load_config,
        merge_config,
        source_options,
    )
    from spectranet.config.show import to_yaml

_LAZY = {
    "Resolved": "spectranet.config.merge",
    "config_from_dict": "spectranet.config.merge",
    "config_to_dict": "spectranet.config.merge",
    "load_config": "spectranet.config.merge",
    "merge_config": "spectranet.config.merge",
    "source_options": "spectranet.config.merge",
    "to_yaml": "spectranet.config.show",
}

__all__ = [
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "EvalConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Resolved",
    "SourceConfig",
    "TrainConfig",
    "config_from_dict",
    "config_to_dict",
    "load_config",
    "merge_config",
    "option",
    "source_options",
    "to_yaml",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'spectranet.config' has no attribute {name!r}")
