"""The conformance kit: what the contract asks of a plugin, as tests to inherit.

    from spectranet.testing import ModalityConformance

    class TestLidar(ModalityConformance):
        plugin, name = "lidar", "lidar"

Needs pytest: ``python -m pip install 'spectranet-core[testing]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectranet.testing.clause import ConformanceError
    from spectranet.testing.modality.conformance import ModalityConformance
    from spectranet.testing.objective.conformance import ObjectiveConformance
    from spectranet.testing.objective.samples import ToyModality

_LAZY = {
    "ConformanceError": "spectranet.testing.clause",
    "ModalityConformance": "spectranet.testing.modality.conformance",
    "ObjectiveConformance": "spectranet.testing.objective.conformance",
    "ToyModality": "spectranet.testing.objective.samples",
}
"""So that processes which the kit starts import only what they need."""

__all__ = ["ConformanceError", "ModalityConformance", "ObjectiveConformance", "ToyModality"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'spectranet.testing' has no attribute {name!r}")
