"""The gradient of one step: the same for every way of cutting its global batch.

Losses come as (sum, weight). Masks and lengths are data, so the weights of a whole step are known
before the first forward: they are summed over all micro-batches and ranks, and every micro-batch
divides by that. Losses over the whole global batch (contrast) take two passes, after Gao et al.
2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache):

1. the encoders run over all micro-batches without gradient; their embeddings are gathered once
   across ranks, and the loss and its gradient at each embedding are computed;
2. each micro-batch runs with gradient and adds <embedding, cached gradient> to its other losses
   before its one backward.

Masks are drawn with the data, so both passes see the same views. Pass 1 takes the first micro-batch
last and keeps what its encoders computed, with its graph, for pass 2 to start from: a step of one
micro-batch runs its encoders once. A small model may keep that of all micro-batches
(``train.keep_encoded``): the memory of their encoder activations buys the time of one encoder forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spectranet.contracts import Batch, Encoded, Rows
from spectranet.errors import PluginError
from spectranet.model.move import to_device
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World
from spectranet.train.faults.lockstep import Lockstep
from spectranet.train.parallel.accumulation import Accumulation

__all__ = ["ObjectivePass", "StepLosses"]

Cache = dict[str, dict[str, list[Tensor]]]
"""objective -> name of the rows -> gradient at the rows of each micro-batch."""


@dataclass
class StepLosses:
    """What a step measured. Sums of local terms are of this rank until :meth:`reduce`."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    denominators: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def reduce(self, world: World, coefficients: Mapping[str, float]) -> dict[str, float]:
        """``loss/<term>`` of the terms that occurred, and their weighted total as ``loss``."""
        terms = sorted(t for t, weight in self.denominators.items() if weight > 0)
        if not terms:
            return {"loss": 0.0}
        sums = world.sum(torch.stack([self.sums[t].double() for t in terms])).tolist()
        values = [total / self.denominators[term] for term, total in zip(terms, sums, strict=True)]
        result = {f"loss/{term}": value for term, value in zip(terms, values, strict=True)}
        result["loss"] = sum(coefficients[t] * v for t, v in zip(terms, values, strict=True))
        return result | self.metrics


class ObjectivePass:
    """Runs the micro-batches of a step forward and backward; gradients end in the parameters.

    Args:
        coefficients: objective -> what its losses are multiplied by.
        keep_encoded: keep the encoders' graphs of pass 1 for pass 2; else of the first micro-batch alone.
        gather: ``reshard`` or ``keep``, see ``train.gather``.
        lockstep: compares each step between ranks, by the numbers that it sums anyway.

    Attributes:
        before_each: called before each forward of a micro-batch, on all ranks alike.
    """

    def __init__(
        self,
        model: SpectraNet,
        world: World,
        coefficients: Mapping[str, float],
        keep_encoded: bool = False,
        gather: str = "reshard",
        lockstep: Lockstep | None = None,
    ) -> None:
        self.lockstep = lockstep
        self.before_each: Callable[[], None] = lambda: None
        self.accumulation = Accumulation(model, world, gather)
        self.keep_encoded = keep_encoded
        self.model = model
        self.world = world
        self.term_coefficients = {
            term: coefficients[name]
            for name, objective in model.objectives.items()
            for term in objective.terms  # type: ignore[union-attr]
        }
        self.counted = sorted(
            term
            for name, objective in model.objectives.items()
            if name not in model.global_objectives
            for term in objective.terms  # type: ignore[union-attr]
        )

    def __call__(self, batches: Sequence[Batch], step: int = 0) -> StepLosses:
        self.accumulation.begin(batches)
        losses = StepLosses(denominators=self.denominators(batches, step))
        kept: list[dict[str, Encoded] | None] = [None] * len(batches)
        cache = self.contrast(batches, losses, kept) if self.model.global_objectives else {}
        for index, batch in enumerate(batches):
            self.before_each()
            cached = {
                objective: {name: gradients[index] for name, gradients in by_name.items()}
                for objective, by_name in cache.items()
            }
            batch = to_device(batch, self.world.device)
            arguments = (losses.denominators, self.term_coefficients, cached)
            total, sums = self.model("train", batch, kept[index], *arguments)
            kept[index] = None
            self.accumulation.before_backward(index)
            # FSDP averages gradients over ranks; ours are already divided by the global weight.
            # A loss that is not finite makes its gradient so, on every rank: the step is then skipped.
            (total * (self.world.size + 0 * total.detach())).backward()
            for term, value in sums.items():
                losses.sums[term] = losses.sums.get(term, 0) + value
        for term in self.counted:
            losses.sums.setdefault(term, torch.zeros((), device=self.world.device))
        return losses

    def denominators(self, batches: Sequence[Batch], step: int = 0) -> dict[str, float]:
        """Weight of each local term over the whole step: one all-reduce over a fixed set of keys.

        Raises:
            DesyncError: the ranks are about to take different steps.
        """
        weights = dict.fromkeys(self.counted, 0.0)
        for batch in batches:
            for name, objective in self.model.objectives.items():
                if name not in self.model.global_objectives:
                    for term, weight in objective.weights(batch).items():  # type: ignore[operator]
                        if term not in weights:
                            raise PluginError(
                                f"objective '{name}' gives a weight to '{term}', which is not in its terms: "
                                f"{', '.join(objective.terms)}"  # type: ignore[arg-type]
                            )
                        weights[term] += float(weight)
        compared = self.lockstep.numbers(step, batches) if self.lockstep else []
        stacked = torch.tensor([*compared, *(weights[t] for t in self.counted)], dtype=torch.float64)
        summed = self.world.sum(stacked.to(self.world.device)).tolist()
        if self.lockstep:
            self.lockstep.require(summed[: len(compared)], step, batches)
        return dict(zip(self.counted, summed[len(compared) :], strict=True))

    def contrast(
        self, batches: Sequence[Batch], losses: StepLosses, kept: list[dict[str, Encoded] | None]
    ) -> Cache:
        """Pass 1: the losses over the global batch, and their gradient at every embedding."""
        names = tuple(sorted(self.model.global_objectives))
        passes: list[dict[str, dict[str, Rows]]] = []
        for index in (*range(1, len(batches)), 0):
            self.before_each()
            keep = self.keep_encoded or index == 0
            with torch.set_grad_enabled(keep):
                rows, encoded = self.model("embed", names, to_device(batches[index], self.world.device))
            passes.append({o: {n: _detached(r) for n, r in by_name.items()} for o, by_name in rows.items()})
            if keep:
                kept[index] = encoded
        passes.insert(0, passes.pop())
        leaves: dict[str, dict[str, Rows]] = {}
        own: dict[str, dict[str, slice]] = {}
        for objective in names:
            for name in sorted({name for one in passes for name in one[objective]}):
                mine = [one[objective][name] for one in passes if name in one[objective]]
                vectors, ours = self.world.gather_rows(torch.cat([m.vectors_RE for m in mine]).float())
                ids, _ = self.world.gather_rows(torch.cat([m.ids_RI for m in mine]))
                leaves.setdefault(objective, {})[name] = Rows(vectors.requires_grad_(), ids)
                own.setdefault(objective, {})[name] = ours
        if not leaves:
            return {}
        total, parts = self.model("global", leaves, self.term_coefficients)
        self.accumulation.before_global_backward()
        # Every rank holds the same full loss, and FSDP averages: a scale's gradient enters once.
        (total * (1 + 0 * total.detach())).backward()
        for term, (value, weight, metrics) in parts.items():
            # Each rank knows the whole sum; the reduction over ranks adds them up again.
            losses.sums[term] = value / self.world.size
            losses.denominators[term] = weight
            losses.metrics |= {f"metric/{term}/{key}": number for key, number in metrics.items()}
        return {
            objective: {
                name: _split_like(passes, objective, name, _gradient(rows)[own[objective][name]])
                for name, rows in by_name.items()
            }
            for objective, by_name in leaves.items()
        }


def _detached(rows: Rows) -> Rows:
    return Rows(rows.vectors_RE.detach(), rows.ids_RI)


def _gradient(rows: Rows) -> Tensor:
    gradient = rows.vectors_RE.grad
    return torch.zeros_like(rows.vectors_RE) if gradient is None else gradient


def _split_like(
    passes: Sequence[dict[str, dict[str, Rows]]], objective: str, name: str, gradient_RE: Tensor
) -> list[Tensor]:
    """The gradient at the rows of each micro-batch; empty where a micro-batch has no such rows."""
    sizes = [len(one[objective][name].vectors_RE) if name in one[objective] else 0 for one in passes]
    return list(gradient_RE.split(sizes))
