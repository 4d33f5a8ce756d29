"""What the contract asks of a modality."""

from __future__ import annotations

from typing import Any

from spectranet.contracts import Modality
from spectranet.testing.package import PackageConformance

__all__ = ["ModalityConformance"]


class ModalityConformance(PackageConformance):
    """Subclass, name the plugin and the modality, and run pytest."""

    kind = "modality"

    @classmethod
    def modality(cls) -> Modality:
        return cls.declaration()

    @classmethod
    def config(cls, **options: Any) -> Any:
        """The modality's options: defaults, the class's ``options``, then ``options``."""
        return cls.modality().config(**{**cls.options, **options})
