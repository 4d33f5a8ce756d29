"""Text keeps the contract: clauses of the core's conformance kit."""

from __future__ import annotations

from spectranet.testing import ModalityConformance


class TestText(ModalityConformance):
    plugin, name = "text", "text"
    options = {"width": 32, "layers": 2, "heads": 4, "mlp_hidden": 48, "max_tokens": 64}
