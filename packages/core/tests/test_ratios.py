"""What is hidden follows the objectives that ask for it, whatever they are called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spectranet import ConfigError
from spectranet.config import Config
from spectranet.data.ratios import hidden_ratios

MODALITIES = {"audio": SimpleNamespace(mask_ratio=0.15), "image": SimpleNamespace(mask_ratio=0.75)}


def ratios(**objectives: dict[str, float] | None) -> dict[str, float]:
    options = {
        name: SimpleNamespace() if asked is None else SimpleNamespace(ratios=asked)
        for name, asked in objectives.items()
    }
    return hidden_ratios(Config(objectives=options), MODALITIES)


def test_nothing_is_hidden_where_nobody_asks() -> None:
    assert ratios(contrastive=None) == {}


@pytest.mark.parametrize("objective", ["mmm", "denoise"])
def test_any_objective_with_ratios_has_tokens_hidden(objective: str) -> None:
    asked = {objective: {"image": 0.5, "thermal": 0.3}}

    assert ratios(**asked, contrastive=None) == {"audio": 0.15, "image": 0.5}


def test_two_that_agree_or_speak_of_others_go_together() -> None:
    assert ratios(mmm={"image": 0.5}, denoise={"image": 0.5, "audio": 0.2}) == {"audio": 0.2, "image": 0.5}


def test_two_that_differ_are_an_error_that_names_both() -> None:
    with pytest.raises(
        ConfigError, match=r"denoise\.ratios\.image is 0\.2 and objectives\.mmm\.ratios\.image"
    ):
        ratios(mmm={"image": 0.5}, denoise={"image": 0.2})
