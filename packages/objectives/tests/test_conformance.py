"""The four objectives keep every clause of the contract, as a third party's must."""

from __future__ import annotations

from typing import ClassVar

from spectranet.testing import ObjectiveConformance


class TestMmm(ObjectiveConformance):
    plugin, name = "objectives", "mmm"


class TestContrastive(ObjectiveConformance):
    plugin, name = "objectives", "contrastive"
    options: ClassVar = {"width": 16}


class TestTemporal(ObjectiveConformance):
    plugin, name = "objectives", "temporal"
    options: ClassVar = {"width": 16}


class TestCaptioning(ObjectiveConformance):
    plugin, name = "objectives", "captioning"
