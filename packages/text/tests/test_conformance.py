"""Text keeps the contract: clauses of the core's conformance kit."""

from __future__ import annotations

from typing import ClassVar

import pytest

from spectranet.testing import ModalityConformance

two_ranks = pytest.mark.slow(ModalityConformance.test_two_ranks_equal_one)


class TestText(ModalityConformance):
    plugin, name = "text", "text"
    options: ClassVar = {"width": 32, "layers": 2, "heads": 4, "mlp_hidden": 48, "max_tokens": 64}
    fp32_within = 1e-5
    test_two_ranks_equal_one = two_ranks
