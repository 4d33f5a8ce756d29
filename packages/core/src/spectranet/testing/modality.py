"""What the contract asks of a modality."""

from __future__ import annotations

from spectranet.testing.modality_data import DataClauses
from spectranet.testing.modality_decode import DecodeClauses
from spectranet.testing.modality_encoder import EncoderClauses
from spectranet.testing.modality_hidden import HiddenClauses
from spectranet.testing.modality_ranks import RankClauses
from spectranet.testing.modality_target import TargetClauses
from spectranet.testing.modality_weights import WeightClauses

__all__ = ["ModalityConformance"]


class ModalityConformance(
    RankClauses, TargetClauses, WeightClauses, HiddenClauses, EncoderClauses, DecodeClauses, DataClauses
):
    """Subclass, name the plugin and the modality, and run pytest.

    Clauses come in the order of the bases, from the last to the first: from bytes to ranks.
    """
