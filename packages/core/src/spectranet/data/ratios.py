"""What share of the tokens of each modality does a run hide?"""

from __future__ import annotations

from collections.abc import Mapping

from spectranet.config.schema import Config
from spectranet.contracts import Modality
from spectranet.errors import ConfigError

__all__ = ["hidden_ratios"]


def hidden_ratios(config: Config, modalities: Mapping[str, Modality]) -> dict[str, float]:
    """What objectives with an option ``ratios`` ask for, else the modality's own; nothing without one.

    Raises:
        ConfigError: two of them ask for different shares of a modality; all see the same view of a sample.
    """
    asking = {name: dict(o.ratios) for name, o in config.objectives.items() if hasattr(o, "ratios")}
    if not asking:
        return {}
    found = {name: modality.mask_ratio for name, modality in modalities.items()}
    said: dict[str, str] = {}
    for objective, ratios in sorted(asking.items()):
        for name, ratio in ratios.items():
            if name in said and ratio != found[name]:
                raise ConfigError(
                    f"objectives.{said[name]}.ratios.{name} is {found[name]} and"
                    f" objectives.{objective}.ratios.{name} is {ratio}; all see the same tokens hidden.\n"
                    f"  make them equal:  objectives.{objective}.ratios.{name}={found[name]}"
                )
            if name in found:
                found[name], said[name] = ratio, objective
    return found
