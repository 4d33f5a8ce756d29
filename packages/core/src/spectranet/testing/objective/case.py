"""What do the clauses of an objective have in common? The module under test, and what it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from spectranet.contracts import BuildContext, Loss, Objective
from spectranet.testing.clause import require
from spectranet.testing.objective.losses import Answers, Trial, number
from spectranet.testing.objective.samples import Shown, ToyModality, encode, make_batch, make_context
from spectranet.testing.package.conformance import PackageConformance

__all__ = ["ObjectiveCase", "build_on_meta", "filled", "require_finite"]


class ObjectiveCase(PackageConformance):
    """See :class:`spectranet.testing.ObjectiveConformance`, which says what can be set."""

    kind = "objective"
    modalities: ClassVar[tuple[ToyModality, ...]] = (
        ToyModality("audio", width=10, temporal=True),
        ToyModality("image", width=12, axes=2),
        ToyModality("text", width=14, vocabulary=23),
    )
    missing: ClassVar[Mapping[str, Any]] = {}
    detached: ClassVar[tuple[str, ...]] = ()
    rtol: ClassVar[float] = 1e-5
    bf16_rtol: ClassVar[float] = 5e-3

    @classmethod
    def objective(cls) -> Objective:
        declared: Objective = cls.declaration()
        return declared

    @classmethod
    def context(cls) -> BuildContext:
        return make_context(cls.modalities)

    @classmethod
    def build(cls, **options: Any) -> nn.Module:
        """The module with weights; what ``init_weights`` leaves out is zero."""
        module = build_on_meta(cls.objective(), cls.config(**options), cls.context())
        return filled(module, 0.0)

    @classmethod
    def trial(cls, **options: Any) -> Trial:
        context = cls.context()
        answers = Answers(context.width, context.encoder_widths)
        return Trial(cls.build(**options), cls.objective().needs_global_batch, answers)

    @classmethod
    def shown(cls, samples: int = 4, *, dtype: torch.dtype = torch.float32, **batch: Any) -> Shown:
        """A batch with its encodings; ``batch`` as :func:`.samples.make_batch` takes it."""
        return encode(cls.modalities, make_batch(cls.modalities, samples, **batch), dtype=dtype)

    @classmethod
    def only_local(cls) -> None:
        """Leave out a clause that means nothing for a loss over the global batch."""
        looks_at_one = not cls.objective().needs_global_batch
        cls.only_where(
            looks_at_one, "of objectives that look at one micro-batch; this one needs the global batch"
        )


def build_on_meta(objective: Objective, config: Any, context: BuildContext) -> Any:
    with torch.device("meta"):
        return objective.build(config, context)


def filled(module: Any, poison: float) -> Any:
    """Storage that holds ``poison`` everywhere, then ``init_weights``, as the core materialises a part."""
    module.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.fill_(poison if tensor.is_floating_point() or math.isfinite(poison) else 0)
        torch.manual_seed(3)
        module.init_weights()
    return module


def require_finite(what: str, losses: Mapping[str, Loss]) -> None:
    for term, loss in losses.items():
        require(torch.isfinite(loss.sum), f"{what}: the sum of '{term}' is {number(loss.sum)}")
