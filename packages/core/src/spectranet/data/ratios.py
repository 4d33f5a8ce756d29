"""What share of the tokens of each modality does a run hide?"""

from __future__ import annotations

from collections.abc import Mapping

from spectranet.config.schema import Config
from spectranet.contracts import Modality

__all__ = ["hidden_ratios"]


def hidden_ratios(config: Config, modalities: Mapping[str, Modality]) -> dict[str, float]:
    """What objective ``mmm`` asks for, else each modality's own share; nothing without ``mmm``."""
    if "mmm" not in config.objectives:
        return {}
    ratios = {name: modality.mask_ratio for name, modality in modalities.items()}
    return ratios | {n: r for n, r in config.objectives["mmm"].ratios.items() if n in ratios}
