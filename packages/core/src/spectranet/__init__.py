"""SpectraNet core: one transformer over images, video, audio and text, extended by plugins.

Everything a plugin may import is in ``__all__``. Importing this package imports no torch: the
names that need it are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spectranet.config.schema import Config, SourceConfig, option
from spectranet.contracts import (
    Batch,
    BuildContext,
    Encoded,
    Loss,
    Modality,
    ModalityBatch,
    Objective,
    Preset,
    Preview,
    Queries,
    RawSample,
    Reader,
    Rows,
    SampleSet,
    Task,
    TaskData,
    Trunk,
    Values,
    lazy,
)
from spectranet.data.options import OpenOptions
from spectranet.errors import ConfigError, DataError, DecodeError, PluginError, SpectraNetError
from spectranet.hookspecs import hookimpl
from spectranet.tasks.embedder import Embedder

if TYPE_CHECKING:
    from spectranet.model.cross_entropy import chunked_cross_entropy
    from spectranet.model.functional import gather_tokens, select_tokens, sincos_position
    from spectranet.model.initialise import init_linear, init_transformers

__version__ = "0.2.0"

_LAZY = {
    "chunked_cross_entropy": "spectranet.model.cross_entropy",
    "gather_tokens": "spectranet.model.functional",
    "select_tokens": "spectranet.model.functional",
    "sincos_position": "spectranet.model.functional",
    "init_linear": "spectranet.model.initialise",
    "init_transformers": "spectranet.model.initialise",
}

__all__ = [
    "Batch",
    "BuildContext",
    "Config",
    "ConfigError",
    "DataError",
    "DecodeError",
    "Embedder",
    "Encoded",
    "Loss",
    "Modality",
    "ModalityBatch",
    "Objective",
    "OpenOptions",
    "PluginError",
    "Preset",
    "Preview",
    "Queries",
    "RawSample",
    "Reader",
    "Rows",
    "SampleSet",
    "SourceConfig",
    "SpectraNetError",
    "Task",
    "TaskData",
    "Trunk",
    "Values",
    "chunked_cross_entropy",
    "gather_tokens",
    "hookimpl",
    "init_linear",
    "init_transformers",
    "lazy",
    "option",
    "select_tokens",
    "sincos_position",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'spectranet' has no attribute {name!r}")
