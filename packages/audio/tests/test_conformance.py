"""Audio keeps the contract: clauses of the core's conformance kit."""

from __future__ import annotations

from typing import ClassVar

import pytest

from spectranet.testing import ModalityConformance

two_ranks = pytest.mark.slow(ModalityConformance.test_two_ranks_equal_one)


class TestAudio(ModalityConformance):
    plugin, name = "audio", "audio"
    options: ClassVar = {
        "max_seconds": 2.0,
        "width": 32,
        "layers": 2,
        "heads": 4,
        "mlp_hidden": 64,
        "conv_dim": [16],
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
    }
    test_two_ranks_equal_one = two_ranks
