"""Which modality does the loss come from?"""

from __future__ import annotations

from collections.abc import Collection, Mapping

__all__ = ["loss_by_modality"]


def loss_by_modality(
    values: Mapping[str, float], coefficients: Mapping[str, float], modalities: Collection[str]
) -> dict[str, float]:
    """``modality/NAME/loss``: the weighted terms of each modality; a term of two counts half for either.

    The modalities of a term stand behind its objective: ``mmm.image``, ``contrastive.image-text``. Terms
    that name none belong to none; the others add up to the loss.
    """
    found: dict[str, float] = {}
    for key, value in values.items():
        if key.startswith("loss/"):
            term = key.removeprefix("loss/")
            named = [name for name in term.partition(".")[2].split("-") if name in modalities]
            for name in named:
                figure = f"modality/{name}/loss"
                found[figure] = found.get(figure, 0.0) + coefficients[term] * value / len(named)
    return found
