"""What the contract asks of a modality."""

from __future__ import annotations

from spectranet.testing.modality.data import DataClauses
from spectranet.testing.modality.decode import DecodeClauses
from spectranet.testing.modality.encoder import EncoderClauses
from spectranet.testing.modality.hidden import HiddenClauses
from spectranet.testing.modality.ranks import RankClauses
from spectranet.testing.modality.target import TargetClauses
from spectranet.testing.modality.weights import WeightClauses

__all__ = ["ModalityConformance"]


class ModalityConformance(
    RankClauses, TargetClauses, WeightClauses, HiddenClauses, EncoderClauses, DecodeClauses, DataClauses
):
    """Subclass, name the plugin and the modality, and run pytest.

    Clauses come in the order of the bases, from the last to the first: from bytes to ranks.
    """
