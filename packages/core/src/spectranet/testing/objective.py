"""What the contract asks of an objective."""

from __future__ import annotations

from spectranet.contracts import Objective
from spectranet.testing.package import PackageConformance

__all__ = ["ObjectiveConformance"]


class ObjectiveConformance(PackageConformance):
    """Subclass, name the plugin and the objective, and run pytest."""

    kind = "objective"

    @classmethod
    def objective(cls) -> Objective:
        return cls.declaration()
