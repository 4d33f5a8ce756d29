"""The conformance kit: what the contract asks of a plugin, as tests to inherit.

    from spectranet.testing import ModalityConformance

    class TestLidar(ModalityConformance):
        plugin, name = "lidar", "lidar"

Needs pytest: ``python -m pip install 'spectranet-core[testing]'``.
"""

from __future__ import annotations

from spectranet.testing.clause import ConformanceError
from spectranet.testing.modality import ModalityConformance
from spectranet.testing.objective import ObjectiveConformance
from spectranet.testing.objective_samples import ToyModality

__all__ = ["ConformanceError", "ModalityConformance", "ObjectiveConformance", "ToyModality"]
