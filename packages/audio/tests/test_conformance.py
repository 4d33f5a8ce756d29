"""Audio keeps the contract: clauses of the core's conformance kit."""

from __future__ import annotations

from typing import ClassVar

import pytest

from spectranet.testing import ModalityConformance

two_ranks = pytest.mark.slow(ModalityConformance.test_two_ranks_equal_one)


class TestAudio(ModalityConformance):
    plugin, name = "audio", "audio"
    options: ClassVar = {  # a width that two ranks do not divide evenly
        "max_seconds": 2.0,
        "width": 18,
        "layers": 2,
        "heads": 3,
        "mlp_hidden": 30,
        "conv_dim": [7],
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 3,
    }
    fp32_within = 1e-5
    test_two_ranks_equal_one = two_ranks
