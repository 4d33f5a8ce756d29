"""The four objectives keep every clause of the contract, as a third party's must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from spectranet import Batch, BuildContext, Encoded, Loss, Objective, Queries
from spectranet.testing import ConformanceError, ObjectiveConformance
from spectranet_objectives.captioning import Captioning

two_ranks = pytest.mark.slow(ObjectiveConformance.test_loss_is_the_same_on_two_ranks)


class TestMmm(ObjectiveConformance):
    plugin, name = "objectives", "mmm"
    test_loss_is_the_same_on_two_ranks = two_ranks


class TestContrastive(ObjectiveConformance):
    plugin, name = "objectives", "contrastive"
    options: ClassVar = {"width": 16}
    test_loss_is_the_same_on_two_ranks = two_ranks


class TestTemporal(ObjectiveConformance):
    plugin, name = "objectives", "temporal"
    options: ClassVar = {"width": 16}
    test_loss_is_the_same_on_two_ranks = two_ranks


class TestCaptioning(ObjectiveConformance):
    plugin, name = "objectives", "captioning"
    test_loss_is_the_same_on_two_ranks = two_ranks


# -------------------------------------------------------- the clause that only causal objectives can break


class ReadsAhead(Captioning):
    def queries(self, batch: Batch, encoded: Mapping[str, Encoded]) -> Queries | None:
        asked = super().queries(batch, encoded)
        return asked and replace(asked, tokens_BQD=asked.tokens_BQD.roll(-1, dims=1))


class ReadsItsOwnText(Captioning):
    def queries(self, batch: Batch, encoded: Mapping[str, Encoded]) -> Queries | None:
        asked = super().queries(batch, encoded)
        return asked and replace(asked, reads=tuple(batch.modalities))


class WritesBackwards(Captioning):
    def loss(
        self, states_BQD: Tensor | None, encoded: Mapping[str, Encoded], batch: Batch
    ) -> dict[str, Loss]:
        turned = None if states_BQD is None else torch.flip(states_BQD, dims=(1,))
        return super().loss(turned, encoded, batch)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (ReadsAhead, "another token 1 of 'text' changes a query before 1"),
        (ReadsItsOwnText, "'text' is written, and its encoder's tokens are read"),
        (WritesBackwards, "of 'text' changes the loss of a query before"),
    ],
)
def test_captions_that_look_ahead_are_found(kind: type[Captioning], says: str) -> None:
    def build(config: Any, context: BuildContext) -> Captioning:
        return kind(config, context)

    class Case(TestCaptioning):
        @classmethod
        def objective(cls) -> Objective:
            return replace(super().objective(), build=build)

    with pytest.raises(ConformanceError) as broken:
        Case().test_causal_queries_do_not_look_ahead()
    assert says in " ".join(str(broken.value).split())
